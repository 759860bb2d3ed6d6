Object.assign(nanoasr, (() => {  // the text of the Transcribe tab: alternatives, corrections, names, find; the overview
  const {near, tip} = nanoasr;
  const paragraphs = () => [...document.querySelectorAll("#text .paragraph")];
  const editing = () => document.querySelector("#text [contenteditable]");
  let send = () => {};  // an event of the text to the server

  function results(trigger) {
    send = data => trigger("edit", data);
  }

  // A token's alternatives as a menu: choosing one asks the model to go on from there.

  document.addEventListener("click", event => {
    const chosen = near(event, "#alternatives [data-id]"), token = near(event, "#text .token[data-others]");
    const open = document.getElementById("alternatives");
    if (chosen) send({...open.place, id: Number(chosen.dataset.id)});
    open?.remove();
    if (token && !editing()) menu(token);
  });

  function menu(token) {
    const [lines, ids] = [token.dataset.tip.split("alternatives:\n")[1].split("\n"), token.dataset.others.split(" ")];
    const box = document.createElement("div"), paragraph = token.closest(".paragraph");
    box.id = "alternatives";
    box.setAttribute("role", "group");
    box.ariaLabel = "What if the model had written";
    box.place = {segment: paragraphs().indexOf(paragraph), token: [...paragraph.querySelectorAll(".token")].indexOf(token)};
    box.append(Object.assign(document.createElement("span"), {textContent: "What if it were"}));
    lines.forEach((line, i) => {
      if (line.startsWith("▸")) return;
      box.append(Object.assign(document.createElement("button"), {type: "button", textContent: line.replace(/[█▏]/g, "").trim()}));
      box.lastChild.dataset.id = ids[i];
    });
    paragraph.after(box);
    tip(null);
  }

  document.addEventListener("keydown", event => {
    const token = near(event, "#text .token[data-others]"), open = document.getElementById("alternatives");
    if (event.key === "Escape" && open) {
      open.remove();
    } else if (token && event.key === "ArrowDown" && !editing()) {  // to the alternatives
      event.preventDefault();
      open?.remove();
      menu(token);
      document.querySelector("#alternatives button")?.focus();
    }
  });

  // Correcting words, using the text of a "what if", and naming speakers.

  const texts = () => paragraphs().map(paragraph => paragraph.querySelector("p").innerText);

  function correct() {
    const on = !editing(), button = document.querySelector("#correct");
    document.getElementById("alternatives")?.remove();
    const said = on ? null : texts();
    for (const text of document.querySelectorAll("#text .paragraph p")) {
      text.toggleAttribute("contenteditable", on);
      if (on) Object.assign(text, {ariaLabel: "Text to correct", role: "textbox"});
      else { text.removeAttribute("role"); text.removeAttribute("aria-label"); }
    }
    button.textContent = on ? "Done" : "Correct";
    if (on) document.querySelector("#text .paragraph p").focus();
    else send({texts: said});
  }

  document.addEventListener("click", event => {
    const panel = near(event, ".what-if"), speaker = near(event, "[data-speaker]");
    if (panel && near(event, ".use")) {
      const all = paragraphs().map(paragraph => paragraph.dataset.text);
      all[panel.dataset.segment] = panel.dataset.use;
      send({texts: all});
    }
    if (panel && near(event, ".use, .close")) panel.remove();
    if (speaker) rename(speaker);
  });

  function rename(button) {
    const field = Object.assign(document.createElement("input"), {value: button.dataset.speaker, ariaLabel: "Name of the speaker"});
    const end = keep => {
      field.onblur = null;
      field.replaceWith(button);
      if (keep && field.value.trim() && field.value !== button.dataset.speaker)
        send({speaker: button.dataset.speaker, name: field.value});
    };
    field.onkeydown = ({key}) => { if (key === "Enter" || key === "Escape") end(key === "Enter"); };
    field.onblur = () => end(true);
    button.replaceWith(field);
    field.select();
  }

  // Find: all places are marked, Enter goes to the next.

  function find(element) {
    const field = element.querySelector("input"), count = element.querySelector("[role=status]");
    let found = [], at = -1;
    const search = () => {
      const wanted = field.value.trim().toLowerCase();
      found = [];
      at = -1;
      for (const text of wanted ? document.querySelectorAll("#text .paragraph p") : []) {
        const nodes = [], walk = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
        for (let node, start = 0; (node = walk.nextNode()); start += node.length) nodes.push([node, start]);
        const place = at => { const [node, start] = nodes.findLast(([, start]) => start <= at); return [node, at - start]; };
        const all = text.textContent.toLowerCase();
        for (let i = all.indexOf(wanted); i >= 0; i = all.indexOf(wanted, i + wanted.length)) {
          const range = new Range(), last = place(i + wanted.length - 1);
          range.setStart(...place(i));
          range.setEnd(last[0], last[1] + 1);
          found.push(range);
        }
      }
      CSS.highlights?.set("found", new Highlight(...found));
      count.textContent = wanted ? `${found.length} found` : "";
    };
    field.addEventListener("input", search);
    field.addEventListener("keydown", ({key, shiftKey}) => {
      if (key !== "Enter" || !found.length) return;
      at = (at + (shiftKey ? found.length - 1 : 1)) % found.length;
      CSS.highlights?.set("current", new Highlight(found[at]));
      found[at].startContainer.parentElement.scrollIntoView({block: "nearest"});
    });
  }

  // The strip with the whole recording: its slider chooses what the timeline shows.

  function overview(element, trigger) {
    element.addEventListener("change", ({target}) => trigger("release", {start: Number(target.value)}));
  }

  function files(element, trigger) {  // several recordings: a row opens its text
    element.addEventListener("click", event => {
      const row = near(event, "[data-open]");
      if (row) trigger("select", {index: Number(row.dataset.open)});
    });
  }
  return {correct, files, find, overview, results};
})());
