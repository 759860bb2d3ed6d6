nanoasr.microphone = (() => {
  const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([input]) { if (input.length) this.port.postMessage(input[0].slice()); return true; }
  });`;
  const REFUSED = "The browser does not let this page use the microphone: allow it there, then press Start again.";
  const REASONS = {NotAllowedError: REFUSED, NotFoundError: "No microphone was found: connect one and press Start."};
  const MOST_SENT = 1 << 19, MOST_KEPT = 1 << 22, MOST_RECORDED = 1 << 26;  // samples in one piece, that wait, in one
  const SHORT = 300;  // milliseconds: whoever lets go sooner has pressed the button, which then records until the next press
  let stream = null, context = null, watch = null;
  let blocks = [], waiting = 0, offset = 0, number = 0, most = MOST_KEPT;  // offset: samples before the blocks

  async function start(kept = MOST_KEPT) {  // -> what went wrong, "" if nothing did
    await stop();
    offset = number = 0;
    most = kept;
    if (!navigator.mediaDevices) return "The browser gives the microphone only to pages at https:// or localhost.";
    try {
      stream = await navigator.mediaDevices.getUserMedia({audio: {channelCount: 1}});
      context = new AudioContext();
      const module = URL.createObjectURL(new Blob([TAP], {type: "text/javascript"}));
      await context.audioWorklet.addModule(module);
      URL.revokeObjectURL(module);
      const tap = new AudioWorkletNode(context, "tap");
      tap.port.onmessage = ({data}) => { keep(data); show(data); };
      context.createMediaStreamSource(stream).connect(tap).connect(context.destination);  // which it leaves silent
      await context.resume();
    } catch (error) {
      await stop();
      return REASONS[error.name] ?? `The microphone cannot be used: ${error.message}.`;
    }
    const since = Date.now();
    if (kept === MOST_KEPT) watch = setInterval(() => {  // switch it off once nobody listens any more
      if (Date.now() - since > 5000 && document.querySelector("#live-stop")?.disabled) stop();
    }, 500);
    return "";
  }

  function keep(block) {
    blocks.push(block);
    waiting += block.length;
    while (waiting > most) drop();  // the server has not answered for long: the oldest sound is lost
  }

  function drop() {
    const {length} = blocks.shift();
    waiting -= length;
    offset += length;
    return length;
  }

  function take(most = MOST_SENT) {  // -> "number;samples a second;samples before;16-bit samples in base64"
    if (!blocks.length) return "";
    const before = offset, view = new DataView(new ArrayBuffer(2 * Math.min(waiting, most)));
    let at = 0, text = "";
    while (blocks.length && at + 2 * blocks[0].length <= view.byteLength) {
      for (const x of blocks[0]) { view.setInt16(at, Math.max(-1, Math.min(1, x)) * 32767, true); at += 2; }
      drop();
    }
    for (let i = 0; i < at; i += 8192)
      text += String.fromCharCode(...new Uint8Array(view.buffer, i, Math.min(8192, at - i)));
    return `${number++};${context.sampleRate};${before};${btoa(text)}`;
  }

  async function stop() {  // -> what was not taken yet
    clearInterval(watch);
    stream?.getTracks().forEach(track => track.stop());
    const rest = context ? take() : "";
    await context?.close();
    stream = context = null;
    blocks = [];
    waiting = 0;
    level(-60);
    return rest;
  }

  let loudest = 0, counted = 0, counts = null;  // counts: is told how many whole seconds were recorded
  function show(samples) {  // ten times a second
    loudest = samples.reduce((most, x) => Math.max(most, Math.abs(x)), loudest);
    counted += samples.length;
    if (!context || counted < context.sampleRate / 10) return;
    level(20 * Math.log10(loudest + 1e-9));
    counts?.(Math.floor(waiting / context.sampleRate));
    loudest = counted = 0;
  }

  function level(decibels) {
    const meter = document.querySelector("#level [role=meter]"), shown = Math.max(-60, Math.min(0, decibels));
    if (!meter) return;
    meter.setAttribute("aria-valuenow", shown.toFixed(0));
    meter.firstElementChild.style.width = `${(1 + shown / 60) * 100}%`;
    meter.nextElementSibling.textContent = shown > -60 ? `${shown.toFixed(0)} dB` : "no sound";
  }

  // One recording: while a button or a key is held, or from one short press to the next.

  function wav() {  // -> the sound so far as a file
    const view = new DataView(new ArrayBuffer(44 + 2 * waiting)), rate = context.sampleRate;
    const write = (at, text) => [...text].forEach((char, i) => view.setUint8(at + i, char.charCodeAt(0)));
    write(0, "RIFF");
    view.setUint32(4, 36 + 2 * waiting, true);
    write(8, "WAVEfmt ");
    [[16, 16], [24, rate], [28, 2 * rate]].forEach(([at, value]) => view.setUint32(at, value, true));
    [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, value]) => view.setUint16(at, value, true));
    write(36, "data");
    view.setUint32(40, 2 * waiting, true);
    let at = 44;
    for (const block of blocks) for (const x of block) {
      view.setInt16(at, Math.max(-1, Math.min(1, x)) * 32767, true);
      at += 2;
    }
    const [clock] = new Date().toTimeString().split(" ");
    return new File([view.buffer], `recording ${clock.replaceAll(":", ".")}.wav`, {type: "audio/wav"});
  }

  function hold(element) {
    const button = element.querySelector("button"), hint = element.querySelector(".hint");
    const [idle, explained] = [button.textContent, hint.textContent];
    let began = 0, starting = null, latched = false;
    const count = seconds => {
      button.textContent = `Listening… ${seconds} s, ${latched ? "press again" : "let go"} to transcribe`;
    };

    async function press() {
      if (latched) return void finish();
      if (starting) return;
      began = Date.now();
      button.classList.add("recording");
      count(0);
      counts = count;
      starting = start(MOST_RECORDED);
      const problem = await starting;
      if (problem) {
        hint.textContent = problem.replace("press Start again", "try again").replace("press Start", "try again");
        reset();
      } else hint.textContent = explained;
    }

    function release() {
      if (!starting || latched) return;
      if (Date.now() - began >= SHORT) return void finish();
      latched = true;
      count(0);
    }

    async function finish() {
      if (!starting || await starting) return;
      const file = wav();
      reset();
      stop();
      nanoasr.upload([file]);
    }

    function reset() {
      starting = counts = null;
      latched = false;
      button.classList.remove("recording");
      button.textContent = idle;
    }

    const isKey = ({key, target, ctrlKey, metaKey, altKey}) => !ctrlKey && !metaKey && !altKey && button.checkVisibility()
      && (target === button ? key === " " || key === "Enter"
        : key.toLowerCase() === "r" && !target.matches("input, textarea, select, [contenteditable]"));
    button.addEventListener("pointerdown", event => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);  // so that letting go is noticed wherever the pointer is
      press();
    });
    addEventListener("pointerup", release);
    addEventListener("pointercancel", release);
    addEventListener("keydown", event => {
      if (!isKey(event)) return;
      event.preventDefault();
      if (!event.repeat) press();
    });
    addEventListener("keyup", event => { if (isKey(event)) { event.preventDefault(); release(); } });
    button.addEventListener("click", event => { if (!event.detail) { press(); release(); } });  // of a screen reader
  }
  return {hold, start, take, stop};
})();
