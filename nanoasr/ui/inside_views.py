"""What the steps of the Inside tab show: figures, and results as HTML or data for inside.js."""

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import mlx.core as mx
import numpy as np
import plotly.graph_objects as go

from .. import backend, plots
from ..audio.sound import Sound
from ..families.base import Inspection
from ..introspection.choices import Choice, text_choices
from ..introspection.reruns import draft_passes
from ..plots.style import pooled
from ..recognizer import Recognizer
from ..results.transcript import Token, Transcript
from . import html

_THUMBNAIL = 28, 120  # rows and columns, at most
_CIF_SECONDS = 0.06


@dataclass(frozen=True)
class Look:
    """An inspected recording, as far as it is known: without text until it is transcribed, without `sound` until that
    is analysed. `layers` are those chosen for attention maps, by view."""

    recognizer: Recognizer
    x: Inspection
    found: Transcript | None = None
    sound: Sound | None = None
    layers: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return len(self.x.samples) / self.recognizer.sample_rate

    @property
    def queries(self) -> int:
        """Encoder frames before those of the sound."""
        return len(self.x.encoded) - len(self.x.features)

    @cached_property
    def frames(self) -> Inspection:
        """`x` with one encoder frame for each LFR frame."""
        logprobs = self.x.ctc_logprobs
        return replace(
            self.x,
            encoded=self.x.encoded[self.queries :],
            ctc_logprobs=None if logprobs is None else logprobs[self.queries :],
        )

    @property
    def tokens(self) -> tuple[Token, ...] | None:
        return self.found.tokens if self.found else None

    def token_name(self, token_id: int) -> str:
        tokenizer = self.recognizer.checkpoint.tokenizer
        if self.recognizer.family == "nano":
            return html.visible(tokenizer.decode([token_id]) or tokenizer.token(token_id))
        return html.visible(tokenizer.token(token_id))

    def layer(self, view: str) -> int:
        return self.layers.get(view, -1)


# Figures: of a Look, None where something they need is not known yet or not there.

Draw = Callable[[Look], "go.Figure | str | dict | None"]


def of_frames(draw: Callable[[Inspection], go.Figure]) -> Draw:
    """A figure that needs the inspection alone."""
    return lambda look: draw(look.frames)


def sound(look: Look) -> go.Figure | None:
    return plots.acoustics_chart(look.sound, look.seconds) if look.sound else None


def encoder_attention(look: Look) -> go.Figure:
    return plots.attention_map(look.x, _encoder_weights(look))


def encoder_heads(look: Look) -> go.Figure:
    return plots.head_maps(look.x, _encoder_weights(look))


def _encoder_weights(look: Look) -> mx.array:
    return look.recognizer.attention(look.x, look.layer("encoder-attention"))[:, look.queries :, look.queries :]


def text_attention(look: Look) -> go.Figure | None:
    if not look.tokens:
        return None
    return plots.text_attention_map(look.x, _text_weights(look))


def text_heads(look: Look) -> go.Figure | None:
    return plots.head_maps(look.x, _text_weights(look).audio, tokens=True) if look.tokens else None


def shares(look: Look) -> str | None:
    if look.tokens is None:
        return None
    if not look.tokens:
        return html.message("The model wrote no text for this recording, so there is no attention from it.", "warning")
    found = plots.attention_shares(look.x, _text_weights(look))
    listed = ", ".join(f"{share:.0%} to {part}" for part, share in found.items())
    return f'<div class="legend"><span>Attention of this layer, on average: {html.escape(listed)}.</span></div>'


def _text_weights(look: Look):
    return look.recognizer.text_attention(look.x, look.layer("text-attention"), look.tokens)


def nano_ctc(look: Look) -> go.Figure | None:
    units = look.recognizer.ctc_tokens
    return plots.ctc_map(look.frames, (lambda i: html.visible(units.decode([i]))) if units else lambda i: "unit")


def sensevoice_ctc(look: Look) -> go.Figure | None:
    model = look.recognizer.checkpoint.model
    return plots.ctc_map(look.frames, look.token_name, model.config.blank_id)


def fire(look: Look) -> go.Figure:
    x, names = look.x, [look.token_name(i) for i in _best_ids(look)]
    return plots.fire_chart(np.array(x.alphas), np.array(x.peaks), _CIF_SECONDS, names)


def _best_ids(look: Look) -> list[int]:
    return np.array(mx.argmax(look.x.logprobs, axis=-1)).tolist()


def acoustic(look: Look) -> go.Figure | None:
    """Acoustic embeddings, with the columns of the tokens that stand in the text."""
    if look.tokens is None:
        return None
    columns, places = iter(enumerate(_best_ids(look))), []
    for token in look.tokens:
        places.append(next((column for column, token_id in columns if token_id == token.id), -1))
    return plots.acoustic_map(look.x).update_layout(meta={"x": "token", "places": places})


def fire_upsampled(look: Look) -> go.Figure | None:
    x = look.x
    if x.up_alphas is None:
        return None
    step = _CIF_SECONDS * len(x.encoded) / len(x.up_alphas)
    return plots.fire_chart(np.array(x.up_alphas), np.array(x.up_peaks), step)


# HTML


def prompt(look: Look) -> str:
    before, after = ([(i, look.token_name(i)) for i in ids.tolist()] for ids in (look.x.prefix_ids, look.x.suffix_ids))
    return html.prompt(before, look.x.audio_tokens.shape[0], after)


def queries(look: Look) -> str:
    """The four queries of SenseVoice and what the first four output frames answer."""
    asked = ("language", "emotion", "sound event", "text normalization")
    first = np.array(look.x.ctc_logprobs[: look.queries].astype(mx.float32))
    rows = [
        (name, str(query), look.token_name(int(row.argmax())), f"{np.exp(row.max()):.1%}")
        for name, query, row in zip(asked, look.x.query_ids.tolist(), first, strict=True)
    ]
    return html.table(("Query", "row of the table", "likeliest answer", "probability"), rows)


def tags(look: Look) -> str | None:
    if look.found is None:
        return None
    found = look.found.tags
    rows = [("Language", look.found.language or "not told"), ("Emotion", found.emotion or "none")]
    return html.table(None, [*rows, ("Sound events", ", ".join(found.events) or "none")])


def drafts(look: Look) -> str | None:
    """Every pass of the decoder: what was proposed, accepted and corrected."""
    if not look.tokens or not look.recognizer.ctc_tokens:
        return None
    ids, passes = backend.run(draft_passes, look.recognizer.model_family, look.x)
    proposed, accepted = sum(len(each.draft) for each in passes), sum(each.accepted for each in passes)
    rows, at = [], 0
    for number, each in enumerate(passes, 1):
        chosen = [(i, "accepted") for i in each.draft[: each.accepted]]
        chosen += [(i, "own") for i in ids[at + each.accepted : at + each.written]]
        chips = "".join(_chip(look, i, kind, at + k) for k, (i, kind) in enumerate(chosen)) or "<i>end of the text</i>"
        chips += "".join(_chip(look, i, "rejected") for i in each.draft[each.accepted :])
        rows.append(f"<tr><th>{number}</th><td>{chips}</td></tr>")
        at += each.written
    return (
        f'<p class="counted">{len(ids)} tokens in {len(passes)} pass{"es" * (len(passes) > 1)}, '
        f"{len(ids) / len(passes):.1f} a pass; {accepted} of {proposed} proposed tokens accepted. "
        f"One token a pass would take {len(ids) + 1} passes.</p>"
        '<div class="legend"><span class="chip accepted">proposed by the CTC branch and accepted</span>'
        '<span class="chip own">chosen by the language model</span>'
        '<span class="chip rejected">proposed and rejected</span></div>'
        '<table class="plain passes"><thead><tr><th>Pass</th><th>Tokens</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _chip(look: Look, token_id: int, kind: str, token: int | None = None) -> str:
    place = "" if token is None else f' data-token="{token}"'
    return f'<span class="chip {kind}"{place}>{html.escape(look.token_name(token_id))}</span>'


# Data


def choices(look: Look) -> dict | None:
    """What every token was chosen from."""
    if not look.tokens:
        return None
    sampled = look.recognizer.family == "nano"
    if sampled:
        found = backend.run(text_choices, look.recognizer.checkpoint, look.x, look.tokens)
    else:
        found = [_from_alternatives(token, look) for token in look.tokens]
    names = {int(i): look.token_name(int(i)) for each in found for i in each.ids}
    steps = [
        {
            "ids": each.ids.tolist(), "logits": np.maximum(each.logits, -1e4).astype(float).round(4).tolist(),
            "counts": each.counts.tolist(), "levels": each.levels.astype(float).round(4).tolist(),
        }
        for each in found
    ]  # fmt: skip
    return {"steps": steps, "names": names, "sampled": sampled, "window": 64}


def _from_alternatives(token: Token, look: Look) -> Choice:
    logprobs = np.array([other.logprob for other in token.alternatives] or [token.logprob])
    ids = np.array([other.id for other in token.alternatives] or [token.id])
    others, rest = look.recognizer.checkpoint.tokenizer.size - len(ids), 1 - np.exp(logprobs).sum()
    if others < 1 or rest < 1e-6:
        return Choice(ids, logprobs, np.zeros(0, int), np.zeros(0))
    return Choice(ids, logprobs, np.array([others]), np.log([rest / others]))


# Thumbnails for the picture of the network: [rows, columns] over time

Thumbnail = Callable[[Look], "np.ndarray | tuple[np.ndarray, tuple[float, float]] | None"]  # where the time runs


def wave_thumbnail(look: Look) -> np.ndarray:
    samples, rows = np.array(look.x.samples), _THUMBNAIL[0]
    starts = np.arange(min(_THUMBNAIL[1], len(samples))) * len(samples) // min(_THUMBNAIL[1], len(samples))
    level = np.maximum.reduceat(np.abs(samples), starts)
    distance = np.abs(np.arange(rows) - (rows - 1) / 2)[:, None] / (rows / 2)
    return (distance <= np.maximum(level / max(level.max(), 1e-6), 0.04)).astype(np.float32)


def array_thumbnail(name: str, scale: bool = True) -> Thumbnail:
    """Of an array [T, D] of the inspection; `scale` gives each dimension the same spread."""

    def thumbnail(look: Look) -> np.ndarray:
        value = getattr(look.frames, name)
        z = np.array(value.astype(mx.float32))
        spread = z.std(axis=0)
        return ((z - z.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)).T if scale else z.T

    return thumbnail


def ctc_thumbnail(blank: Callable[[Look], int]) -> Thumbnail:
    def thumbnail(look: Look) -> np.ndarray | None:
        if look.x.ctc_logprobs is None:
            return None
        spikes = np.exp(np.array(look.frames.ctc_logprobs.astype(mx.float32)))
        spikes[:, blank(look) % spikes.shape[1]] = 0
        heights = np.linspace(0.02, 1, _THUMBNAIL[0])[:, None]
        return (spikes.max(axis=1)[None] >= heights).astype(np.float32)

    return thumbnail


def fire_thumbnail(look: Look) -> np.ndarray:
    heights = np.linspace(0.02, 1, _THUMBNAIL[0])[:, None]
    return (np.array(look.x.alphas)[None, :-1] >= heights).astype(np.float32)


def attention_thumbnail(look: Look) -> np.ndarray | None:
    return np.array(_text_weights(look).audio).mean(axis=0)[::-1] if look.tokens else None


def words_thumbnail(look: Look) -> np.ndarray | None:
    if not look.tokens:
        return None
    z = np.zeros((1, _THUMBNAIL[1]), np.float32)
    for i, token in enumerate(look.tokens):
        if token.start is not None and token.end is not None:
            first, last = (round(time / look.seconds * _THUMBNAIL[1]) for time in (token.start, token.end))
            z[:, first : max(last, first + 1)] = 1 if i % 2 else 0.6
    return z


def prompt_thumbnail(look: Look) -> tuple[np.ndarray, tuple[float, float]]:
    x, end = look.x, len(look.x.prefix_ids) + len(look.x.audio_tokens)
    level = np.abs(np.array(x.audio_tokens.astype(mx.float32))).mean(axis=1)
    parts = np.full(len(x.prefix_ids), 0.15), 0.4 + 0.6 * level / level.max(), np.full(len(x.suffix_ids), 0.15)
    z = np.concatenate(parts)[None]
    return z, (len(x.prefix_ids) / z.shape[1], end / z.shape[1])


def encode_thumbnail(z: "np.ndarray | tuple") -> dict:
    """Rows from top to bottom, as bytes; "at" is where the sound's time runs."""
    z, at = z if isinstance(z, tuple) else (z, (0.0, 1.0))
    rows, columns = (min(size, most) for size, most in zip(z.shape, _THUMBNAIL, strict=True))
    small = pooled(pooled(z.astype(np.float32), columns).T, rows).T[::-1]
    low, high = np.percentile(small, [1, 99.5]) if small.max() > small.min() else (0, 1)
    scaled = np.clip((small - low) / max(high - low, 1e-6), 0, 1)
    data = base64.b64encode((scaled * 255).astype(np.uint8).tobytes()).decode()
    return {"rows": rows, "columns": columns, "data": data, "at": at}


def said(look: Look, names: Sequence[str] = ("start", "end")) -> list[dict]:
    """The tokens, for the line of text on top."""
    return [
        {
            "text": html.visible(token.text) if not token.text.strip() else token.text,
            "id": token.id,
            "p": round(math.exp(min(token.logprob, 0)), 4),
        }
        | {name: getattr(token, name) for name in names}
        for token in look.tokens or ()
    ]
