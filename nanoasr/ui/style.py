"""How the page looks. Nothing comes from other sites."""

import gradio as gr

TITLE = "nanoasr: see a recognizer think"


def theme() -> gr.themes.Base:
    """System fonts and calm colours."""
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(  # Gradio's own grey is too pale to read on white
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


CSS = """
.gradio-container { width: 100% !important; max-width: 1500px !important; margin: 0 auto !important; }
#heading h1 { margin: 0; font-size: 1.5rem; }
#heading p { margin: 0; color: var(--body-text-color-subdued); }
.model-line { color: var(--body-text-color-subdued); font-size: .9rem; overflow-wrap: anywhere; }
:root { --color-accent: #2563eb; }
.dark { --color-accent: #60a5fa; }
[id$=recording] :is(time, button.playback, .settings-wrapper button) {
  color: var(--body-text-color-subdued) !important; }
.asked { outline: 3px solid #56B4E9 !important; outline-offset: 1px; filter: brightness(.9); }
:focus-visible { outline: 2px solid #0072B2 !important; outline-offset: 2px; }
.dark :focus-visible { outline-color: #56B4E9 !important; }
.message { padding: .55rem .8rem; border-left: 4px solid #56B4E9; border-radius: 4px; overflow-wrap: anywhere;
  background: color-mix(in srgb, #56B4E9 12%, transparent);
  display: flex; gap: .8rem; align-items: center; flex-wrap: wrap; }
.message.done { border-color: #009E73; background: color-mix(in srgb, #009E73 12%, transparent); }
.message.warning { border-color: #E69F00; background: color-mix(in srgb, #E69F00 14%, transparent); }
.message.error { border-color: #D55E00; background: color-mix(in srgb, #D55E00 14%, transparent); }
.message progress { flex: 1 1 8rem; min-width: 6rem; accent-color: #0072B2; }
#status, #inside-status, #live-status { min-height: 2.6rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem .5rem; align-items: center; font-size: .85rem;
  color: var(--body-text-color-subdued); margin-bottom: .4rem; }
.scale { display: inline-block; width: 5rem; height: .8rem; border-radius: 3px;
  background: linear-gradient(to right, transparent, color-mix(in srgb, #E69F00 65%, transparent));
  border: 1px solid #8a8f9866; }
.tokens { line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 18rem; overflow-y: auto;
  padding: 2px; }
.token { border-radius: 3px; padding: .15em 0; margin-right: 1px; cursor: help; border-bottom: 1px dotted #8a8f98;
  background: color-mix(in srgb, #E69F00 calc((1 - var(--p)) * 65%), transparent); }
.dark .token { background: color-mix(in srgb, #E69F00 calc((1 - var(--p)) * 45%), transparent); }
.dark .scale { background: linear-gradient(to right, transparent, color-mix(in srgb, #E69F00 45%, transparent)); }
.token[data-start] { cursor: pointer; }
.token:hover, .token:focus, .token.playing { outline: 2px solid #0072B2; outline-offset: 0; }
#timeline .bars path { cursor: pointer; }
.js-plotly-plot :is(.xtick, .ytick, .xtitle, .ytitle, .legendtext, .cbaxis, .cbtitle) :is(text, tspan),
.js-plotly-plot text:is(.xtitle, .ytitle, .legendtext) { fill: var(--body-text-color-subdued) !important; }
#tip { position: fixed; z-index: 1000; display: none; max-width: min(22rem, calc(100vw - 16px));
  white-space: pre-wrap; overflow-wrap: anywhere;
  font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace; background: #10151c; color: #f2f4f7; padding: .5rem .7rem;
  border-radius: 6px; border: 1px solid #8a8f98; pointer-events: none; }
.segments { list-style: none; margin: 0; padding: 0; max-height: 22rem; overflow-y: auto; }
.segments li { margin: 0; }
.segment { display: flex; flex-wrap: wrap; gap: .1rem .8rem; width: 100%; text-align: left;
  padding: .4rem .5rem; border-radius: 4px; font-weight: 400 !important;
  overflow-wrap: anywhere; min-height: 2.2rem; }
.segment > span { min-width: 0; }
.segment:hover, .segment.playing { background: color-mix(in srgb, #56B4E9 22%, transparent); }
.segment:focus-visible { outline: 2px solid #0072B2; }
.segment .time { color: var(--body-text-color); font-variant-numeric: tabular-nums; white-space: nowrap; }
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
.message.recording { border-color: #D55E00; background: color-mix(in srgb, #D55E00 10%, transparent); }
.message.recording::before { content: ""; width: .7rem; height: .7rem; border-radius: 50%; background: #D55E00; }
.live-text { height: 15rem; overflow-y: auto; display: flex; flex-direction: column-reverse; padding: .6rem .8rem;
  border: 1px solid var(--border-color-primary); border-radius: 4px; font-size: 1.15rem; line-height: 1.6;
  overflow-wrap: anywhere; }
.live-text div { margin-bottom: auto !important; white-space: pre-wrap; }
.committed { color: var(--body-text-color); font-weight: 500; }
.tentative { color: var(--body-text-color-subdued); font-style: italic; text-decoration: underline dotted;
  text-underline-offset: .2em; }
.nothing { color: var(--body-text-color-subdued); }
.level { display: flex; gap: .6rem; align-items: center; font-size: .85rem; color: var(--body-text-color-subdued); }
.level > div { flex: 1; height: .7rem; border-radius: 4px; border: 1px solid #8a8f9866; overflow: hidden; }
.level i { display: block; height: 100%; width: 0; transition: width .1s;
  background: linear-gradient(to right, #56B4E9, #0072B2); }
.level span:last-child { min-width: 4rem; text-align: right; font-variant-numeric: tabular-nums; }
#live-segments li { display: flex; gap: .2rem .8rem; padding: .3rem .5rem; flex-wrap: wrap; overflow-wrap: anywhere; }
#live-segments .time { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
#live-figures .figures div { min-width: 7rem; flex: 1; }
#compare-status { min-height: 2.6rem; }
#settings th * { font-family: var(--font) !important; font-size: .74rem !important; letter-spacing: 0; }
table.compared .said { width: 60%; line-height: 1.7; }
table.compared .model { display: block; }
#compare-summary td { white-space: nowrap; padding-right: 1.2rem; }
@media (max-width: 700px) {
  #shapes tr { display: flex; flex-wrap: wrap; border-bottom: 1px solid #8a8f9844 !important; }
  #shapes thead { display: none; }
  #shapes tr > * { border: 0 !important; padding-bottom: 0; }
  #shapes td:last-child { width: 100%; padding: 0 0 .3rem; color: var(--body-text-color-subdued); }
  table.compared thead { display: none; }
  table.compared tr { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .4rem 0;
    border-bottom: 1px solid #8a8f9866 !important; }
  table.compared tr > * { border: 0 !important; padding: .1rem 0 !important; }
  table.compared th, table.compared .said { width: 100%; }
  table.compared .figure::before { content: attr(data-name) " "; color: var(--body-text-color-subdued); }
}
table.compared .figure { font-variant-numeric: tabular-nums; white-space: nowrap; }
table.compared th small { font-weight: 400; color: var(--body-text-color-subdued); }
#compare-rows ins, #compare-rows del { padding: .05em .25em; border-radius: 3px; color: var(--body-text-color); }
#compare-rows ins { text-decoration: underline; background: color-mix(in srgb, #0072B2 22%, transparent); }
#compare-rows del { text-decoration: line-through; background: color-mix(in srgb, #D55E00 20%, transparent); }
"""
