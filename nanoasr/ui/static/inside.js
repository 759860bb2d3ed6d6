// The Inside tab: the story of one recording, drawn from the JSON that the server brings in #inside-story, -text, …
nanoasr.inside = (() => {
  const PARTS = ["story", "text", "sound", "answer"], SHOWN = 12, WINDOW_END = 1e-6;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let story = null;                                  // everything that came for this recording
  let cursor = {start: null, end: null, token: null}; // seconds of the excerpt, and a place in story.tokens
  let current = 0, asked = 0, pending = null, until = null, drawing = null;
  const seen = {}, knobs = {temperature: 1, topK: 0, topP: 1, minP: 0, penalty: 1};
  const host = () => document.getElementById("story");
  const find = (selector, all) => all ? [...host().querySelectorAll(selector)] : host().querySelector(selector);

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  // What the server brings.

  setInterval(() => {
    if (!host()) return;
    for (const part of PARTS) {
      const script = document.querySelector(`#inside-${part} script`);
      const begins = script?.firstChild?.substringData(0, 80);  // with its run and question; Gradio may keep the element
      if (begins === seen[part]) continue;
      seen[part] = begins;
      if (script) receive(part, JSON.parse(script.textContent));
      else if (part === "story") leave();
    }
    if (story && host().hidden) render();  // Gradio made the tab anew
    const audio = sound();
    if (story && audio && !audio.paused) follow(audio);
  }, 60);

  function receive(part, data) {
    if (part === "story") {
      story = {tokens: [], ...data};
      current = Math.min(current, story.steps.length - 1);
      cursor = {start: null, end: null, token: null};
      return render();
    }
    if (!story || data.run !== story.run) return;
    if (data.patched !== undefined) return showPatched(data);
    const layers = Object.fromEntries(Object.entries(story.views).map(([name, view]) => [name, view.layers]));
    for (const [name, view] of Object.entries(data.views)) story.views[name] = {layers: layers[name], ...view};
    Object.assign(story.thumbnails, data.thumbnails);
    if (data.tokens) Object.assign(story, {tokens: data.tokens, text: data.text});
    if (data.tokens) showText();
    if (data.thumbnails) showPicture();
    const missing = story.steps[current].views.some(name => data.views[name]);
    if (missing) for (const name of Object.keys(data.views)) showView(name);
  }

  function leave() {
    story = null;
    if (host()) Object.assign(host(), {hidden: true, innerHTML: ""});
  }

  // The page: text, picture, step.

  function render() {
    host().hidden = false;
    host().replaceChildren(
      element("div", {class: "said-row"},
        element("button", {type: "button", class: "play", onclick: toggle, "aria-label": "Play from the cursor"}, "▶ Play"),
        element("div", {class: "said", role: "group", "aria-label": "Text: choose a token, and every view shows it"}),
        element("span", {class: "at"})),
      element("ol", {class: "network", "aria-label": "The network, from sound to text"}),
      element("article", {class: "step"}));
    showText();
    showPicture();
    showStep();
  }

  function showText() {
    const tokens = story.tokens.map((token, place) => element("button", {
      type: "button", class: "spoken", tabindex: place ? -1 : 0, "aria-pressed": "false", "data-token": place,
      style: `--p:${token.p}`, onclick: () => chooseToken(place),
    }, token.text));
    const said = story.text === undefined ? "Transcribing…" : "No text was found in this recording.";
    find(".said").replaceChildren(...(tokens.length ? tokens : [element("i", {}, said)]));
    place();
  }

  function showPicture() {
    const main = story.steps.filter(step => !step.beside);
    find(".network").style.setProperty("--columns", main.length);
    find(".network").replaceChildren(...story.steps.map((step, number) => {
      const column = step.beside ? main.indexOf(story.steps[number - 1]) + 2 : main.indexOf(step) + 1;
      const picture = element("span", {class: "picture"}), drawn = story.thumbnails[step.name];
      if (drawn) picture.append(thumbnail(drawn), element("span", {class: "mark", "data-at": (drawn.at ?? [0, 1]).join()}));
      const node = element("button", {
        type: "button", class: "node", "data-step": number, onclick: () => go(number),
      }, picture, element("b", {}, step.title), element("small", {}, step.shape));
      return element("li", {class: step.beside ? "beside" : "", style: `--column:${column}`}, node);
    }));
    markStep();
    place();
  }

  function thumbnail({rows, columns, data}) {
    const canvas = element("canvas", {width: columns, height: rows, "aria-hidden": "true"});
    const bytes = Uint8Array.from(atob(data), char => char.charCodeAt(0));
    const image = new ImageData(columns, rows);
    bytes.forEach((value, i) => image.data.set([...colour(value / 255), 255], 4 * i));
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  const STOPS = [[38, 20, 72], [49, 104, 142], [53, 183, 121], [253, 231, 37]];  // Viridis
  function colour(share) {
    const at = Math.min(share * 3, 2.999), i = Math.floor(at);
    return STOPS[i].map((low, k) => Math.round(low + (STOPS[i + 1][k] - low) * (at - i)));
  }

  function go(number) {
    current = Math.max(0, Math.min(number, story.steps.length - 1));
    markStep();
    showStep();
  }

  function markStep() {
    for (const node of find(".node", true)) {
      if (Number(node.dataset.step) === current) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
    }
  }

  function showStep() {
    const step = story.steps[current], last = story.steps.length - 1;
    const move = (by, text) => element("button", {
      type: "button", class: by > 0 ? "next" : "back", disabled: current + by < 0 || current + by > last,
      onclick: () => { go(current + by); (find(by > 0 ? ".next:enabled" : ".back:enabled") ?? find("h2")).focus(); },
    }, text);
    for (const plot of find(".plot", true)) window.Plotly?.purge(plot);
    drawing = null;
    find(".step").replaceChildren(
      element("header", {},
        element("h2", {tabindex: -1}, step.title), element("span", {class: "count"}, `${current + 1} of ${last + 1}`),
        move(-1, "Back"), move(1, "Next")),
      element("p", {class: "sentence"}, step.sentence),
      ...step.views.map(name => element("figure", {class: "view", "data-view": name, hidden: true})));
    for (const name of step.views) showView(name);
  }

  function showView(name) {
    const view = story.views[name], figure = find(`[data-view="${name}"]`);
    if (!view || !figure) return;
    const before = figure.querySelector(".plot");
    if (before && view.figure && !figure.hidden) return draw(before, view);  // another layer: the slider stays
    const parts = [element("figcaption", {}, element("b", {}, view.title), " ", view.caption)];
    if (view.layers > 1) parts.push(layerSlider(name, view));
    if (view.figure) parts.push(element("div", {class: "plot", role: "img", "aria-label": `${view.title}. ${view.caption}`}));
    if (view.html !== undefined) parts.push(Object.assign(element("div"), {innerHTML: view.html}));
    if (name === "choices") parts.push(...choicesPanel(view.data));
    if (name === "filterbank") parts.push(patchPanel());
    figure.replaceChildren(...parts);
    figure.hidden = false;
    if (view.figure) draw(figure.querySelector(".plot"), view);
    if (name === "choices") showChoices();
    place();
  }

  function layerSlider(name, view) {
    const shown = element("output", {}, String(view.layer ?? view.layers - 1));
    const input = element("input", {
      type: "range", min: 0, max: view.layers - 1, value: view.layer ?? view.layers - 1, "aria-label": "Layer; 0 is the first",
      oninput: () => {
        shown.textContent = view.layer = story.views[name].layer = Number(input.value);
        ask({view: name, layer: view.layer});
      },
    });
    return element("label", {class: "layer"}, "Layer ", input, shown);
  }

  async function draw(plot, view) {
    while (!window.Plotly) await new Promise(done => setTimeout(done, 50));
    if (!plot.isConnected) return;
    const layout = {...view.figure.layout, dragmode: false, autosize: true};
    await window.Plotly.react(plot, view.figure.data, layout, {displayModeBar: false, responsive: false});
    if (!plot.marks) {
      plot.marks = plot.appendChild(element("div", {class: "marks"}));
      plot.on("plotly_click", ({points: [point]}) => choosePoint(plot, point));
      plot.on("plotly_afterplot", () => placeIn(plot));
      new ResizeObserver(() => plot.offsetWidth && window.Plotly.Plots.resize(plot)).observe(plot);
    }
    placeIn(plot);
  }

  // One cursor.

  function chooseToken(number) {
    const token = story.tokens[number];
    until = null;
    if (!token) return;
    set(token.start, token.end, number);
    seek();
  }

  function chooseTime(seconds) {
    const time = Math.max(0, Math.min(seconds, story.seconds));
    set(time, time, tokenAt(time));
    seek();
  }

  function choosePoint(plot, point) {
    const {x, y, places} = plot._fullLayout.meta ?? {};
    if (y === "token") return chooseToken(Math.round(point.y));
    if (x === "token") return chooseToken(places ? places.indexOf(Math.round(point.x)) : Math.round(point.x));
    if (x) chooseTime((point.x - (x[2] ?? 0)) / x[0]);
  }

  function tokenAt(time) {
    const place = story.tokens.findIndex(token => token.start !== null && token.start <= time && time < token.end);
    return place < 0 ? null : place;
  }

  function set(start, end, token) {
    const other = token !== cursor.token;
    cursor = {start, end, token};
    place(other);
    if (other && find(".choices")) { tally.clear(); showChoices(); }
  }

  function place(tokens = true) {
    if (tokens)
      for (const marked of find("[data-token]", true)) {
        const lit = Number(marked.dataset.token) === cursor.token;
        marked.classList.toggle("lit", lit);
        if (!marked.matches("button")) continue;
        marked.setAttribute("aria-pressed", String(lit));
        marked.tabIndex = lit || (cursor.token === null && marked.dataset.token === "0") ? 0 : -1;
      }
    const known = cursor.start !== null;
    find(".at").textContent = known ? `${cursor.start.toFixed(2)} s` : cursor.token === null ? "choose a word" : "no time";
    for (const mark of find(".picture .mark", true)) {
      mark.hidden = !known;
      if (!known) continue;
      const [first, last] = mark.dataset.at.split(","), width = 100 * (last - first) / story.seconds;
      mark.style.left = `${100 * first + cursor.start * width}%`;
      mark.style.width = `max(2px, ${(cursor.end - cursor.start) * width}%)`;
    }
    for (const plot of find(".plot", true)) placeIn(plot);
  }

  function placeIn(plot) {
    const full = plot._fullLayout;
    if (!plot.marks || !full?._plots) return;
    const spans = {x: span(full.meta?.x, full.meta?.places), y: span(full.meta?.y)};
    let used = 0;
    for (const {xaxis, yaxis} of Object.values(full._plots)) {
      for (const [axis, across, along] of [["x", xaxis, yaxis], ["y", yaxis, xaxis]]) {
        if (!spans[axis]) continue;
        const mark = plot.marks.children[used] ?? plot.marks.appendChild(element("span", {class: "mark"}));
        const [from, to] = spans[axis].map(value => across.l2p(value)).sort((a, b) => a - b);
        const low = Math.max(from, 0), high = Math.min(Math.max(to, from + 2), across._length);
        if (high <= low) continue;
        used++;
        mark.hidden = false;
        const [left, top, width, height] = axis === "x"
          ? [across._offset + low, along._offset, high - low, along._length]
          : [along._offset, across._offset + low, along._length, high - low];
        mark.style.cssText = `transform:translate(${left}px,${top}px);width:${width}px;height:${height}px`;
      }
    }
    for (const mark of [...plot.marks.children].slice(used)) mark.hidden = true;
    if (plot.closest("[data-view=filterbank]")) placeBox(plot);
  }

  function span(unit, places) {  // of the cursor on an axis: whole frames
    const token = cursor.token !== null && places ? places[cursor.token] : cursor.token;
    if (unit === "token") return token === null ? null : [token - 0.5, token + 0.5];
    if (!unit || cursor.start === null) return null;
    const [rate, frame, offset = 0] = unit, from = cursor.start * rate, to = cursor.end * rate;
    if (!frame) return [from, to];
    const first = Math.floor(from / frame + 1e-9);
    return [first * frame + offset, Math.max(Math.ceil(to / frame - 1e-9), first + 1) * frame + offset];
  }

  // Playing: the tab's player. The story may begin later than the recording.

  function sound() {
    const inner = [...document.querySelectorAll("#inside-recording #waveform *")].find(found => found.shadowRoot);
    return inner?.shadowRoot.querySelector("audio");
  }

  function seek() {
    const audio = sound();
    if (audio && cursor.start !== null && audio.readyState) audio.currentTime = story.start + cursor.start;
  }

  function toggle() {
    const audio = sound();
    if (!audio) return;
    if (!audio.paused) return audio.pause();
    const from = cursor.start !== null && cursor.start < story.seconds - 0.1 ? cursor.start : 0;
    audio.currentTime = story.start + from;
    until = story.seconds;
    audio.play().then(() => follow(audio)).catch(() => {});
  }

  function follow(audio) {
    if (audio.storied) return;
    audio.storied = true;
    const frame = () => {
      const playing = story && !audio.paused && !audio.ended, now = audio.currentTime - (story?.start ?? 0);
      if (playing && now >= 0 && now <= story.seconds) {
        const token = tokenAt(now), [start, end] = calm.matches && token !== null
          ? [story.tokens[token].start, story.tokens[token].end] : [now, now];
        if (!calm.matches || token !== cursor.token) set(start, end, token);
      }
      if (playing && until !== null && now >= until) { until = null; audio.pause(); }
      if (story) find(".play").textContent = playing ? "❚❚ Pause" : "▶ Play";
      if (playing) requestAnimationFrame(frame);
      else audio.storied = false;
    };
    requestAnimationFrame(frame);
  }

  document.addEventListener("keydown", event => {
    const token = event.target instanceof Element && event.target.closest(".spoken");
    const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!token || !by) return;
    event.preventDefault();
    const next = story.tokens[Number(token.dataset.token) + by] && Number(token.dataset.token) + by;
    if (next === undefined) return;
    chooseToken(next);
    find(`.spoken[data-token="${next}"]`).focus();
  });
  document.addEventListener("click", event => {
    const chip = event.target instanceof Element && event.target.closest("#story .chip[data-token]");
    if (chip) chooseToken(Number(chip.dataset.token));
  });

  // Sampling: what `nanoasr.decode.sampling` does, on the scores that were kept. Groups stand for the other ids.

  function reshape({ids, logits, counts, levels}, history, {temperature, topK, topP, minP, penalty}) {
    const recent = new Set(history);
    let items = ids.map((id, i) => {
      const logit = logits[i];
      return {id, count: 1, logit: penalty !== 1 && recent.has(id) ? (logit > 0 ? logit / penalty : logit * penalty) : logit};
    });
    items.push(...counts.map((count, i) => ({id: null, count, logit: levels[i]})));
    items.sort((a, b) => b.logit - a.logit);
    if (temperature < WINDOW_END) items = [{...items[0], count: 1}];
    for (const item of items) item.logit /= temperature < WINDOW_END ? 1 : temperature;
    if (topK) {
      let left = topK, least = -Infinity;
      for (const item of items) {
        if (left <= 0 && item.logit < least) { item.count = 0; continue; }
        if (item.id === null) item.count = Math.min(item.count, Math.max(left, 0));
        left -= item.count;
        least = item.logit;
      }
    }
    const weigh = () => {
      items = items.filter(item => item.count > 0);
      const best = items[0].logit, total = items.reduce((sum, item) => sum + item.count * Math.exp(item.logit - best), 0);
      for (const item of items) item.p = Math.exp(item.logit - best) / total;
    };
    weigh();
    if (topP < 1) {
      let before = 0;
      for (const item of items) {
        const all = item.count * item.p;
        item.count = before >= topP ? 0 : Math.min(item.count, Math.ceil((topP - before) / item.p));
        before += all;
      }
      weigh();
    }
    if (minP) {
      for (const item of items) if (Math.exp(item.logit - items[0].logit) < minP) item.count = 0;
      weigh();
    }
    const others = items.filter(item => item.id === null);
    return {
      kept: items.filter(item => item.id !== null).map(({id, p}) => ({id, p})),
      rest: others.reduce((sum, item) => sum + item.count * item.p, 0),
      restCount: others.reduce((sum, item) => sum + item.count, 0),
    };
  }

  const KNOBS = [
    ["temperature", "Temperature", 0, 2, 0.05], ["topK", "Top-k (0: all)", 0, 200, 1], ["topP", "Top-p", 0.05, 1, 0.01],
    ["minP", "Min-p", 0, 1, 0.01], ["penalty", "Repetition penalty", 0.5, 2, 0.05],
  ];
  const tally = new Map();
  const NEUTRAL = {temperature: 1, topK: 0, topP: 1, minP: 0, penalty: 1};

  function choicesPanel(data) {
    const parts = [element("p", {class: "chosen"})];
    if (data.sampled) {
      const sliders = KNOBS.map(([name, title, min, max, step]) => {
        const shown = element("output", {}, String(knobs[name]));
        const input = element("input", {
          type: "range", min, max, step, value: knobs[name], "data-knob": name,
          oninput: () => { knobs[name] = Number(input.value); shown.textContent = input.value; tally.clear(); showChoices(); },
        });
        return element("label", {}, title, input, shown);
      });
      const reset = () => { Object.assign(knobs, NEUTRAL); tally.clear(); showView("choices"); };
      parts.push(element("div", {class: "knobs"}, ...sliders, element("div", {class: "dice"},
        element("button", {type: "button", class: "die", onclick: roll}, "⚄ Draw a token"),
        element("button", {type: "button", onclick: reset}, "Reset"),
        element("output", {class: "drawn", "aria-live": "polite"}))));
    }
    parts.push(element("table", {class: "choices plain", "aria-label": "Probabilities of the token and its rivals"}));
    return parts;
  }

  function now() {  // the chosen step of decoding, and its distribution as the sliders shape it
    const {steps, names, window} = story.views.choices.data, place = Math.min(cursor.token ?? 0, steps.length - 1);
    const history = story.tokens.slice(Math.max(0, place - window), place).map(token => token.id);
    return {place, names, choice: steps[place], history, shaped: reshape(steps[place], history, knobs)};
  }

  function showChoices() {
    const panel = find(".choices");
    if (!panel || !story.views.choices) return;
    const {place, names, choice, history, shaped} = now();
    const plain = reshape(choice, history, NEUTRAL), before = new Map(plain.kept.map(({id, p}) => [id, p]));
    const after = new Map(shaped.kept.map(({id, p}) => [id, p])), written = story.tokens[place]?.id;
    const ids = [...after.keys()].concat(plain.kept.map(({id}) => id).filter(id => !after.has(id))).slice(0, SHOWN);
    for (const id of [written, ...tally.keys()]) if (id !== null && before.has(id) && !ids.includes(id)) ids.push(id);
    const row = (name, p, unshaped, times, chosen) => element("tr", {class: chosen ? "written" : ""},
      element("th", {scope: "row"}, name),
      element("td", {}, element("span", {class: "bar", style: `--p:${p};--before:${unshaped}`})),
      element("td", {class: "figure"}, p ? percent(p) : "–"), element("td", {class: "figure"}, times ? `${times} ×` : ""));
    panel.replaceChildren(element("tbody", {},
      ...ids.map(id => row(names[id], after.get(id) ?? 0, before.get(id) ?? 0, tally.get(id), id === written)),
      row(`${(shaped.restCount + after.size - ids.filter(id => after.has(id)).length).toLocaleString("en")} others`,
          Math.max(0, 1 - ids.reduce((sum, id) => sum + (after.get(id) ?? 0), 0)),
          Math.max(0, 1 - ids.reduce((sum, id) => sum + (before.get(id) ?? 0), 0)), tally.get(null), false)));
    const token = story.tokens[place];
    find(".chosen").textContent = `Token ${place + 1} of ${story.tokens.length}: “${token.text.trim()}”. `
      + (cursor.token === null ? "Choose another in the text above." : "");
  }

  function roll() {
    const {names, shaped} = now();
    let left = Math.random(), drawn = null;
    for (const {id, p} of shaped.kept) if ((left -= p) < 0) { drawn = id; break; }
    if (drawn === null && !shaped.restCount) drawn = shaped.kept.at(-1).id;
    tally.set(drawn, (tally.get(drawn) ?? 0) + 1);
    showChoices();
    find(".drawn").textContent = drawn === null ? "One of the others was drawn" : `Drawn: ${names[drawn]}`;
  }

  const percent = p => p >= 0.0995 ? `${(p * 100).toFixed(1)} %` : p >= 1e-5 ? `${(p * 100).toPrecision(2)} %` : "< 0.001 %";

  // Silence a patch of the filterbank, and decode again.

  function patchPanel() {
    const field = (name, title, max, step, value) => element("label", {}, title,
      element("input", {type: "number", name, min: 0, max, step, value, oninput: () => placeIn(find("[data-view=filterbank] .plot"))}));
    const seconds = Math.floor(story.seconds * 100) / 100, top = story.hz.at(-1);
    return element("fieldset", {class: "patch"},
      element("legend", {}, "Silence a patch"),
      element("button", {type: "button", class: "draw", "aria-pressed": "false", onclick: toggleDrawing}, "Draw a box"),
      field("from", "from, s", seconds, 0.01, 0), field("to", "to, s", seconds, 0.01, 0),
      field("low", "from, Hz", top, 1, 0), field("high", "to, Hz", top, 1, top),
      element("button", {type: "button", class: "again", onclick: runPatched}, "Run again without it"),
      element("div", {class: "patched", role: "status"}));
  }

  const patchValue = name => Number(find(`.patch [name=${name}]`).value);
  const bin = hz => story.hz.reduce((best, own, i) => Math.abs(own - hz) < Math.abs(story.hz[best] - hz) ? i : best, 0);

  function runPatched() {
    const [start, end] = [patchValue("from"), patchValue("to")], [low, high] = [bin(patchValue("low")), bin(patchValue("high"))];
    const box = find(".patched");
    if (!(end > start) || high < low) { box.textContent = "Draw a box first, or type its edges."; return; }
    box.textContent = "Decoding again…";
    ask({patch: [start, end, low, high]});
  }

  function showPatched(data) {
    if (find(".patched") && data.asked === asked) find(".patched").innerHTML = data.patched;
  }

  function toggleDrawing() {
    const plot = find("[data-view=filterbank] .plot"), on = find(".draw").getAttribute("aria-pressed") !== "true";
    find(".draw").setAttribute("aria-pressed", String(on));
    if (!on) return plot.querySelector(".pen")?.remove();
    const {xaxis, yaxis} = plot._fullLayout._plots.xy;
    const at = event => {
      const area = plot.getBoundingClientRect(), inside = (value, most) => Math.max(0, Math.min(value, most));
      return [xaxis.p2l(inside(event.clientX - area.left - xaxis._offset, xaxis._length)),
              yaxis.p2l(inside(event.clientY - area.top - yaxis._offset, yaxis._length))];
    };
    const pen = element("div", {class: "pen"});
    pen.addEventListener("pointerdown", event => { drawing = at(event); pen.setPointerCapture(event.pointerId); });
    pen.addEventListener("pointermove", event => { if (drawing) fill(drawing, at(event)); });
    pen.addEventListener("pointerup", event => { if (drawing) fill(drawing, at(event)); drawing = null; toggleDrawing(); });
    plot.append(pen);
  }

  function fill([x0, y0], [x1, y1]) {
    const hz = value => story.hz[Math.max(0, Math.min(story.hz.length - 1, Math.round(value)))];
    const values = {from: Math.min(x0, x1).toFixed(2), to: Math.max(x0, x1).toFixed(2), low: hz(Math.min(y0, y1)), high: hz(Math.max(y0, y1))};
    for (const [name, value] of Object.entries(values)) find(`.patch [name=${name}]`).value = value;
    placeIn(find("[data-view=filterbank] .plot"));
  }

  function placeBox(plot) {
    const [from, to] = [patchValue("from"), patchValue("to")], {xaxis, yaxis} = plot._fullLayout._plots.xy;
    const box = plot.querySelector(".box") ?? plot.appendChild(element("span", {class: "box"}));
    box.hidden = !(to > from);
    const top = yaxis.l2p(bin(patchValue("high")) + 0.5), bottom = yaxis.l2p(bin(patchValue("low")) - 0.5);
    box.style.cssText = `transform:translate(${xaxis._offset + xaxis.l2p(from)}px,${yaxis._offset + top}px);`
      + `width:${xaxis.l2p(to) - xaxis.l2p(from)}px;height:${bottom - top}px`;
  }

  function begin(tries = 20) {  // the tab was opened: look at the recording that it has taken over
    if (story) return;
    if (sound()) document.querySelector("#look-inside").click();
    else if (tries) setTimeout(begin, 150, tries - 1);
  }

  function ask(what) {
    pending = {...what, asked: ++asked};
    document.querySelector("#inside-ask").click();
  }
  return {begin, request: () => JSON.stringify(pending), reshape, chooseTime, chooseToken, get story() { return story; }};
})();
