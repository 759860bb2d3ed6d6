nanoasr.microphone = (() => {
  const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([input]) { if (input.length) this.port.postMessage(input[0].slice()); return true; }
  });`;
  const REFUSED = "The browser does not let this page use the microphone: allow it there, then press Start again.";
  const REASONS = {NotAllowedError: REFUSED, NotFoundError: "No microphone was found: connect one and press Start."};
  const MOST_SENT = 1 << 19, MOST_KEPT = 1 << 22;  // samples in one piece; samples that wait to be taken
  let stream = null, context = null, watch = null;
  let blocks = [], waiting = 0, offset = 0, number = 0;  // offset: samples before the blocks

  async function start() {  // -> what went wrong, "" if nothing did
    await stop();
    offset = number = 0;
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
    watch = setInterval(() => {  // switch it off once nobody listens any more
      if (Date.now() - since > 5000 && document.querySelector("#live-stop")?.disabled) stop();
    }, 500);
    return "";
  }

  function keep(block) {
    blocks.push(block);
    waiting += block.length;
    while (waiting > MOST_KEPT) drop();  // the server has not answered for long: the oldest sound is lost
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

  let loudest = 0, counted = 0;
  function show(samples) {  // ten times a second
    loudest = samples.reduce((most, x) => Math.max(most, Math.abs(x)), loudest);
    counted += samples.length;
    if (!context || counted < context.sampleRate / 10) return;
    level(20 * Math.log10(loudest + 1e-9));
    loudest = counted = 0;
  }

  function level(decibels) {
    const meter = document.querySelector("#level [role=meter]"), shown = Math.max(-60, Math.min(0, decibels));
    if (!meter) return;
    meter.setAttribute("aria-valuenow", shown.toFixed(0));
    meter.firstElementChild.style.width = `${(1 + shown / 60) * 100}%`;
    meter.nextElementSibling.textContent = shown > -60 ? `${shown.toFixed(0)} dB` : "no sound";
  }
  return {start, take, stop};
})();
