window.nanoasr = (() => {
  const near = (event, what) => event.target instanceof Element ? event.target.closest(what) : null;
  const clear = () => document.querySelectorAll(".playing").forEach(e => e.classList.remove("playing"));
  let until = null;

  function play(start, end, element) {
    const sound = document.querySelector("#player audio");
    if (!sound) return;
    clear();
    element?.classList.add("playing");
    until = end;
    sound.currentTime = start;
    sound.play().catch(clear);
    sound.ontimeupdate = () => {
      if (until !== null && sound.currentTime >= until) { until = null; sound.pause(); clear(); }
    };
    sound.onpause = () => { if (sound.currentTime < until - 0.05) until = null; clear(); };
  }
  const playElement = element => play(Number(element.dataset.start), Number(element.dataset.end), element);

  function tip(element) {
    let box = document.getElementById("tip");
    if (!box) {
      box = document.createElement("div");
      box.id = "tip";
      box.setAttribute("role", "tooltip");
      document.body.append(box);
    }
    if (!element) { box.style.display = "none"; return; }
    box.textContent = element.dataset.tip;
    box.style.display = "block";
    const at = element.getBoundingClientRect(), size = box.getBoundingClientRect();
    box.style.left = Math.max(8, Math.min(at.left, innerWidth - size.width - 8)) + "px";
    const below = at.bottom + size.height + 8 < innerHeight;
    box.style.top = (below ? at.bottom + 6 : Math.max(8, at.top - size.height - 6)) + "px";
  }

  function step(token, by) {  // the tokens are one stop of the Tab key; arrows go from one to the next
    const tokens = [...token.parentElement.querySelectorAll(".token")];
    const next = tokens[tokens.indexOf(token) + by];
    if (!next) return;
    token.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  document.addEventListener("click", event => {  // a button shows that it was pressed before the server says anything
    const button = near(event, ".gradio-container button:is(.lg, .md, .sm, .gallery-item)");
    if (!button) return;
    const status = button.closest("[role=tabpanel]")?.querySelector("[id$=status]");
    const end = () => { watch.disconnect(); button.classList.remove("asked"); };
    const watch = new MutationObserver(() => setTimeout(end, 300));
    button.classList.add("asked");
    if (status) watch.observe(status, {subtree: true, childList: true, characterData: true});
    setTimeout(end, 1500);
  }, true);
  document.addEventListener("click", event => {
    const element = near(event, "[data-start]");
    if (element) playElement(element);
  });
  document.addEventListener("pointerdown", event => {  // a plot is there by now: listen to it, once
    const plot = near(event, "#timeline .js-plotly-plot");
    if (!plot || plot.listening) return;
    plot.listening = true;
    plot.on("plotly_click", ({points}) => {
      const [, start, end] = points.find(point => Array.isArray(point.customdata))?.customdata ?? [];
      if (end !== undefined) play(start, end);
    });
  });
  document.addEventListener("keydown", event => {
    const token = near(event, ".token");
    if (event.key === "Escape") tip(null);
    if (!token) return;
    if (event.key === "Enter" && token.dataset.start) playElement(token);
    const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (by) { event.preventDefault(); step(token, by); }
  });
  document.addEventListener("mouseover", event => tip(near(event, "[data-tip]")));
  document.addEventListener("focusin", event => tip(near(event, "[data-tip]")));
  document.addEventListener("scroll", () => tip(null), true);

  function whenReady(selector, work) {  // once the page has it and the browser is idle
    if (!document.querySelector(selector)) return void setTimeout(whenReady, 100, selector, work);
    (window.requestIdleCallback ?? setTimeout)(work);
  }
  return {whenReady};
})();
