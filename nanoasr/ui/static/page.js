window.nanoasr = (() => {
  const near = (event, what) => event.target instanceof Element ? event.target.closest(what) : null;

  // Gradio reloads the whole page after one lost request, and a live session with it: try again first.

  const send = window.fetch;
  window.fetch = async (resource, options) => {
    const retries = /\/queue\/(join|data)/.test(resource?.url ?? resource) ? 5 : 0;
    for (let attempt = 0; ; attempt++) {
      try {
        return await send(resource, options);
      } catch (error) {
        if (error.name === "AbortError" || attempt === retries) throw error;
        await new Promise(done => setTimeout(done, 200 * 2 ** attempt));
      }
    }
  };

  // Playing. Every tab has one player: that of its recording, to which its results belong.

  let until = null;  // second at which to pause
  let moved = 0;  // when the timeline was last moved

  function sound(element) {  // -> the audio element of the tab that an element is in, or of the one that is open
    const panel = element?.closest("[role=tabpanel]") ?? [...document.querySelectorAll("[role=tabpanel]")]
      .find(panel => panel.checkVisibility());
    const host = [...panel?.querySelectorAll("[id$=recording] #waveform *") ?? []].find(inner => inner.shadowRoot);
    return host?.shadowRoot.querySelector("audio");
  }

  function play(start, end, element) {
    const audio = sound(element);
    if (!audio) return;
    until = end;
    audio.currentTime = start;
    audio.play().catch(() => {});
    follow(audio);
  }

  function follow(audio) {  // every frame while it plays: pause at the end, highlight the word, move the playhead
    if (audio.following) return;
    audio.following = true;
    const frame = () => {
      const now = audio.currentTime, playing = !audio.paused && !audio.ended;
      if (until !== null && now >= until) { until = null; audio.pause(); }
      show(now, playing);
      if (playing) requestAnimationFrame(frame);
      else { audio.following = false; if (now < until - 0.05) until = null; }
    };
    requestAnimationFrame(frame);
  }

  let spoken = {};  // what the text has times for; a long one has thousands, too many to read anew in every frame

  function timed() {
    const text = document.querySelector("#text .text");
    if (spoken.text !== text) {
      const all = [...text?.querySelectorAll("[data-start]") ?? []];
      spoken = {text, lit: [], all: all.map(element =>
        ({element, start: Number(element.dataset.start), end: Number(element.dataset.end)}))};
    }
    return spoken;
  }

  function show(now, playing) {
    const {all, lit} = timed(), next = playing ? all.filter(({start, end}) => start <= now && now < end) : [];
    for (const item of lit) if (!next.includes(item)) item.element.classList.remove("playing");
    for (const item of next) if (!lit.includes(item)) item.element.classList.add("playing");
    spoken.lit = next;
    const plot = document.querySelector("#timeline .js-plotly-plot"), axis = plot?._fullLayout?.xaxis;
    if (!axis) return;
    const strip = document.querySelector("#overview input");
    if (strip && playing && !(axis.range[0] <= now && now <= axis.range[1]) && Date.now() > moved + 1500) {
      moved = Date.now();  // the timeline goes along
      strip.value = now;
      strip.dispatchEvent(new Event("change", {bubbles: true}));
    }
    plot.style.position = "relative";
    let head = plot.querySelector(".playhead");
    if (!head) {
      head = document.createElement("div");
      head.className = "playhead";
      plot.append(head);
    }
    const at = axis.l2p(now);
    head.hidden = !(at >= 0 && at <= axis._length);
    head.style.transform = `translateX(${axis._offset + at}px)`;
  }

  const playElement = element => play(Number(element.dataset.start), Number(element.dataset.end), element);

  setInterval(() => {  // the player's own button was pressed
    const audio = sound();
    if (audio && !audio.paused) follow(audio);
  }, 200);

  document.addEventListener("click", event => {
    const element = near(event, "[data-start]");
    if (element && !element.closest("[contenteditable]")) playElement(element);
  });

  document.addEventListener("pointerdown", event => {  // once for each plot: a click plays the word, or from there
    const plot = near(event, "#timeline .js-plotly-plot");
    if (!plot || plot.listening) return;
    plot.listening = true;
    plot.on("plotly_click", ({points}) => {
      const [, start, end] = points.find(point => Array.isArray(point.customdata))?.customdata ?? [];
      if (end !== undefined) play(start, end);
      else if (points.length) play(points[0].x, null);
    });
  });

  // Rows of a comparison: one player for all, and copying.

  const row = new Audio();
  const copy = text => navigator.clipboard.writeText(text);
  document.addEventListener("click", event => {
    const copied = near(event, "[data-copy]"), played = near(event, "[data-src]");
    if (copied) copy(copied.dataset.copy);
    if (!played) return;
    const again = row.src === new URL(played.dataset.src, document.baseURI).href;
    if (again && !row.paused) return void row.pause();
    if (!again) row.src = played.dataset.src;
    row.play().catch(() => {});
  });

  // Tokens: a tip with the alternatives; one stop of the Tab key, arrows move between them.

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

  function step(token, by) {
    const tokens = [...token.closest(".text").querySelectorAll(".token")];
    const next = tokens[tokens.indexOf(token) + by];
    if (!next) return;
    token.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  document.addEventListener("keydown", event => {
    const token = near(event, ".token"), by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (event.key === "Escape") tip(null);
    if (!token || token.isContentEditable || !(by || event.key === "Enter" || event.key === " ")) return;
    event.preventDefault();
    if (by) step(token, by);
    else if (token.dataset.start) playElement(token);
  });
  document.addEventListener("mouseover", event => tip(near(event, "[data-tip]")));
  document.addEventListener("focusin", event => tip(near(event, "[data-tip]")));
  document.addEventListener("scroll", () => tip(null), true);

  // A button shows that it was pressed before the server answers.

  document.addEventListener("click", event => {
    const button = near(event, ".gradio-container button:is(.lg, .md, .sm, .gallery-item)");
    if (!button) return;
    const status = button.closest("[role=tabpanel]")?.querySelector("[id$=status]");
    const end = () => { watch.disconnect(); button.classList.remove("asked"); };
    const watch = new MutationObserver(() => setTimeout(end, 300));
    button.classList.add("asked");
    if (status) watch.observe(status, {subtree: true, childList: true, characterData: true});
    setTimeout(end, 1500);
  }, true);

  // Files and folders that are dropped anywhere on the Transcribe tab are uploaded.

  const accepts = event => [...event.dataTransfer?.items ?? []].some(item => item.kind === "file")
    && document.querySelector("#upload")?.checkVisibility();

  document.addEventListener("dragover", event => {
    if (!accepts(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  for (const name of ["dragleave", "drop"])
    document.addEventListener(name, () => document.body.classList.remove("dropping"), true);
  document.addEventListener("drop", async event => {
    if (!accepts(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const {items, files} = event.dataTransfer;
    const entries = [...items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
    upload(entries.some(entry => entry.isDirectory) ? (await Promise.all(entries.map(within))).flat() : [...files]);
  }, true);

  async function within(entry) {  // -> the files of a folder, at any depth
    if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
    const reader = entry.createReader(), found = [];
    for (let some; (some = await new Promise((done, failed) => reader.readEntries(done, failed))).length;)
      found.push(...some);
    return (await Promise.all(found.map(within))).flat();
  }

  function upload(files) {  // as if they were chosen with the button
    const input = document.querySelector("#upload").parentElement.querySelector("input[type=file]");
    const given = new DataTransfer();
    files.filter(file => !file.name.startsWith(".")).forEach(file => given.items.add(file));
    input.files = given.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  }

  // Every tab has its address; on a phone the page goes to the results of what was pressed.

  const tabs = () => [...document.querySelectorAll("#tabs [role=tab]")];
  const address = tab => "#" + tab.textContent.trim().toLowerCase();
  const selected = () => tabs().find(tab => tab.ariaSelected === "true");

  function go(hash) {
    const tab = tabs().find(tab => address(tab) === hash);
    if (tab && tab !== selected()) tab.click();
  }

  document.addEventListener("click", event => {
    const tab = near(event, "#tabs [role=tab]");
    if (tab && address(tab) !== (location.hash || "#transcribe")) history.pushState(null, "", address(tab));
  });
  addEventListener("popstate", () => go(location.hash || "#transcribe"));
  whenReady("#tabs [role=tab]", () => go(location.hash));

  function toResults(event) {
    if (innerWidth <= 700) near(event, "[role=tabpanel]")?.querySelector("[id$=status]")?.scrollIntoView();
  }
  document.addEventListener("click", event => {
    if (near(event, "#transcribe, #look-inside, #compare, .gallery-item, #recent .small")) toResults(event);
  });
  document.addEventListener("change", event => { if (event.target.type === "file") toResults(event); });

  function copyText(where) {
    const lines = [...document.querySelectorAll(`${where} [data-text]`)].map(element => element.dataset.text);
    return copy(lines.join("\n"));
  }

  function whenReady(selector, work) {  // once the page has it and the browser is idle
    if (!document.querySelector(selector)) return void setTimeout(whenReady, 100, selector, work);
    (window.requestIdleCallback ?? setTimeout)(work);
  }
  return {copyText, go, near, playElement, tip, upload, whenReady};
})();
