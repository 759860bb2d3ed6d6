"""How the page looks and the little that it does by itself in the browser. Nothing comes from other sites."""

import gradio as gr

TITLE = "nanoasr: see a recognizer think"


def theme() -> gr.themes.Base:
    """System fonts and calm colours."""
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )


CSS = """
.gradio-container { width: 100% !important; max-width: 1500px !important; margin: 0 auto !important; }
#heading h1 { margin: 0; font-size: 1.5rem; }
#heading p { margin: 0; color: var(--body-text-color-subdued); }
.model-line { color: var(--body-text-color-subdued); font-size: .9rem; overflow-wrap: anywhere; }
.message { padding: .55rem .8rem; border-left: 4px solid #56B4E9; border-radius: 4px; overflow-wrap: anywhere;
  background: color-mix(in srgb, #56B4E9 12%, transparent);
  display: flex; gap: .8rem; align-items: center; flex-wrap: wrap; }
.message.done { border-color: #009E73; background: color-mix(in srgb, #009E73 12%, transparent); }
.message.warning { border-color: #E69F00; background: color-mix(in srgb, #E69F00 14%, transparent); }
.message.error { border-color: #D55E00; background: color-mix(in srgb, #D55E00 14%, transparent); }
.message progress { flex: 1 1 8rem; min-width: 6rem; accent-color: #0072B2; }
#status, #inside-status { min-height: 2.6rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem .5rem; align-items: center; font-size: .85rem;
  color: var(--body-text-color-subdued); margin-bottom: .4rem; }
.scale { display: inline-block; width: 5rem; height: .8rem; border-radius: 3px;
  background: linear-gradient(to right, transparent, color-mix(in srgb, #E69F00 65%, transparent));
  border: 1px solid #8a8f9866; }
.tokens { line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 18rem; overflow-y: auto;
  padding: 2px; }
.token { border-radius: 3px; padding: .15em 0; margin-right: 1px; cursor: help; border-bottom: 1px dotted #8a8f98;
  background: color-mix(in srgb, #E69F00 calc((1 - var(--p)) * 65%), transparent); }
.token[data-start] { cursor: pointer; }
.token:hover, .token:focus { outline: 2px solid #0072B2; outline-offset: 0; }
#tip { position: fixed; z-index: 1000; display: none; max-width: min(22rem, calc(100vw - 16px));
  white-space: pre-wrap; overflow-wrap: anywhere;
  font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace; background: #10151c; color: #f2f4f7; padding: .5rem .7rem;
  border-radius: 6px; border: 1px solid #8a8f98; pointer-events: none; }
.segments { list-style: none; margin: 0; padding: 0; max-height: 22rem; overflow-y: auto; }
.segments li { margin: 0; }
.segment { display: flex; flex-wrap: wrap; gap: .1rem .8rem; width: 100%; text-align: left;
  padding: .4rem .5rem; border-radius: 4px;
  overflow-wrap: anywhere; min-height: 2.2rem; }
.segment > span { min-width: 0; }
.segment:hover, .segment.playing { background: color-mix(in srgb, #56B4E9 22%, transparent); }
.segment:focus-visible { outline: 2px solid #0072B2; }
.segment .time { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; white-space: nowrap; }
.segment em { font-size: .75rem; padding: 0 .4rem; border: 1px solid #D55E00; border-radius: 1rem; align-self: center; }
#player audio { width: 100%; height: 40px; }
.dark #player audio { color-scheme: dark; }
.figures { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; }
.figures div { display: flex; flex-direction: column; }
.figures b { font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.figures span, .stages { font-size: .8rem; color: var(--body-text-color-subdued); }
.stages { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin-top: .6rem; font-variant-numeric: tabular-nums; }
.stages i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .3rem; }
.scroll { overflow-x: auto; margin-bottom: .8rem; }
table.plain { border-collapse: collapse; width: 100%; border: 0 !important; }
table.plain th, table.plain td { text-align: left; padding: .3rem .8rem .3rem 0; border: 0 !important;
  border-bottom: 1px solid #8a8f9844 !important; vertical-align: top; overflow-wrap: anywhere; }
table.plain thead, table.plain tbody, table.plain tr { border: 0 !important; }
table.plain th { font-weight: 600; white-space: nowrap; }
.prompt { display: flex; flex-wrap: wrap; gap: .25rem; }
.chip { display: inline-flex; flex-direction: column; align-items: center; padding: .1rem .4rem;
  border: 1px solid #8a8f9866; border-radius: 4px; font-family: ui-monospace, Menlo, Consolas, monospace;
  font-size: .8rem; max-width: 100%; overflow-wrap: anywhere; }
.chip i { font-style: normal; font-size: .7rem; color: var(--body-text-color-subdued); }
.chip.audio { background: color-mix(in srgb, #E69F00 35%, transparent); border-color: #E69F00; padding: .1rem 1rem; }
.stage-note p { margin: 0; }
"""

HEAD = """
<meta name="referrer" content="no-referrer">
<script>
(() => {
  let until = null;
  const audio = () => document.querySelector("#player audio");
  const clear = () => document.querySelectorAll(".segment.playing").forEach(e => e.classList.remove("playing"));
  function play(element) {
    const sound = audio();
    if (!sound) return;
    clear();
    element.classList.add("playing");
    until = Number(element.dataset.end);
    sound.currentTime = Number(element.dataset.start);
    sound.play().catch(() => clear());
    sound.ontimeupdate = () => {
      if (until !== null && sound.currentTime >= until) { until = null; sound.pause(); clear(); }
    };
    sound.onpause = () => { if (sound.currentTime < until - 0.05) until = null; clear(); };
  }
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
  const token = event => event.target instanceof Element ? event.target.closest("[data-tip]") : null;
  document.addEventListener("click", event => {
    const element = event.target instanceof Element ? event.target.closest("[data-start]") : null;
    if (element) play(element);
  });
  document.addEventListener("keydown", event => {
    const element = token(event);
    if (event.key === "Enter" && element && element.dataset.start) play(element);
    if (event.key === "Escape") tip(null);
  });
  document.addEventListener("mouseover", event => tip(token(event)));
  document.addEventListener("focusin", event => tip(token(event)));
  document.addEventListener("scroll", () => tip(null), true);
})();
</script>
"""
