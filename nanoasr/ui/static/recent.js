nanoasr.recent = (() => {  // the last results, kept in this browser
  const MOST = 20, KEY = "nanoasr-recent";
  let draw = () => {};

  function stored() {
    try { return JSON.parse(localStorage.getItem(KEY)) ?? []; } catch { return []; }
  }

  function store(entries) {  // as many as the browser has room for
    for (; ; entries.pop()) {
      try { localStorage.setItem(KEY, JSON.stringify(entries)); break; } catch { if (!entries.length) break; }
    }
    draw();
  }

  function keep(props, watch) {
    watch("value", () => {
      if (!props.value) return;
      const entry = JSON.parse(props.value);
      store([entry, ...stored().filter(({name, label}) => name !== entry.name || label !== entry.label)].slice(0, MOST));
    });
  }

  function show(element, trigger) {
    draw = () => {
      const entries = stored(), fold = element.querySelector("details");
      if (!entries.length) return void element.replaceChildren();
      const box = Object.assign(document.createElement("details"), {open: fold?.open ?? false});
      const list = document.createElement("ol");
      box.append(Object.assign(document.createElement("summary"), {textContent: `Recent results (${entries.length})`}), list);
      for (const {name, label, packed} of entries) {
        const button = Object.assign(document.createElement("button"), {type: "button", className: "small"});
        button.append(Object.assign(document.createElement("b"), {textContent: name}), ` ${label}`);
        button.onclick = () => trigger("select", {packed});
        list.append(document.createElement("li"));
        list.lastChild.append(button);
      }
      const clear = Object.assign(document.createElement("button"), {type: "button", className: "small", textContent: "Clear"});
      clear.onclick = () => store([]);
      box.append(clear);
      element.replaceChildren(box);
    };
    draw();
  }

  const last = () => stored()[0]?.packed ?? "";
  return {keep, last, show};
})();
