"""The microphone, as the page uses it: sound is collected in the browser until somebody takes it, so none is lost."""

import base64
import binascii

import numpy as np

from ..errors import AudioError

_MOST_TEXT = 32 << 20  # characters of a piece
START = "async (_, ...others) => [await nanoasrMicrophone.start(), ...others]"
TAKE = "() => [nanoasrMicrophone.take()]"
STOP = "async () => [await nanoasrMicrophone.stop()]"
HEAD = """
<script>
window.nanoasrMicrophone = (() => {
  const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([input]) { if (input.length) this.port.postMessage(input[0].slice()); return true; }
  });`;
  const REFUSED = "The browser does not let this page use the microphone: allow it there, then press Start again.";
  const REASONS = {NotAllowedError: REFUSED, NotFoundError: "No microphone was found: connect one and press Start."};
  let stream = null, context = null, pieces = [], number = 0, watch = null;

  async function start() {  // -> what went wrong, "" if nothing did
    await stop();
    number = 0;
    if (!navigator.mediaDevices) return "The browser gives the microphone only to pages at https:// or localhost.";
    try {
      stream = await navigator.mediaDevices.getUserMedia({audio: {channelCount: 1}});
      context = new AudioContext();
      const module = URL.createObjectURL(new Blob([TAP], {type: "text/javascript"}));
      await context.audioWorklet.addModule(module);
      URL.revokeObjectURL(module);
      const tap = new AudioWorkletNode(context, "tap");
      tap.port.onmessage = ({data}) => { pieces.push(data); show(data); };
      context.createMediaStreamSource(stream).connect(tap).connect(context.destination);  // which it leaves silent
      await context.resume();
    } catch (error) {
      await stop();
      return REASONS[error.name] ?? `The microphone cannot be used: ${error.message}.`;
    }
    const since = Date.now();
    watch = setInterval(() => {  // nobody listens any more: then it must not stay on
      if (Date.now() - since > 5000 && document.querySelector("#live-stop")?.disabled) stop();
    }, 500);
    return "";
  }

  function take() {  // -> "number;samples a second;16-bit samples in base64"
    if (!pieces.length) return "";
    const bytes = new DataView(new ArrayBuffer(2 * pieces.reduce((sum, piece) => sum + piece.length, 0)));
    let at = 0, text = "";
    for (const piece of pieces)
      for (const x of piece) { bytes.setInt16(at, Math.max(-1, Math.min(1, x)) * 32767, true); at += 2; }
    pieces = [];
    for (let i = 0; i < at; i += 8192)
      text += String.fromCharCode(...new Uint8Array(bytes.buffer, i, Math.min(8192, at - i)));
    return `${number++};${context.sampleRate};${btoa(text)}`;
  }

  async function stop() {  // -> what was not taken yet
    clearInterval(watch);
    stream?.getTracks().forEach(track => track.stop());
    const rest = context ? take() : "";
    await context?.close();
    stream = context = null;
    pieces = [];
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
</script>
"""
METER = (
    '<div class="level"><span>Level</span><div role="meter" aria-label="Level" aria-valuemin="-60" aria-valuemax="0" '
    'aria-valuenow="-60"><i></i></div><span>no sound</span></div>'
)


def read_piece(text: str) -> tuple[int, int, np.ndarray]:
    """A piece as the page sends it -> which it is, its sample rate, and its mono samples in [-1, 1]."""
    try:
        if len(text) > _MOST_TEXT:
            raise ValueError
        number, rate, samples = text.split(";")
        data = np.frombuffer(base64.b64decode(samples, validate=True), "<i2")
        return int(number), int(rate), data.astype(np.float32) / 32768
    except (ValueError, binascii.Error):
        raise AudioError("The page sent sound that cannot be read here: reload it and try again.") from None
