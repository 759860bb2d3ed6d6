"""Transcripts for tests: made by hand, and hypothesis strategies for nasty ones."""

import re
from dataclasses import replace

from hypothesis import strategies as st

from nanoasr.results import (
    Alternative,
    Candidate,
    Segment,
    Tags,
    Timings,
    Token,
    Transcript,
    join_texts,
)


def timed(*texts, start=0.0, step=0.5):
    """Tokens that follow each other, `step` seconds each."""
    return tuple(Token(i, text, -0.25, start + i * step, start + (i + 1) * step) for i, text in enumerate(texts))


def untimed(*texts):
    return tuple(Token(i, text, -0.25) for i, text in enumerate(texts))


def segment(*tokens, start=0.0, end=10.0):
    return Segment("".join(token.text for token in tokens).strip(), start, end, tokens)


def transcript(*segments):
    return Transcript(join_texts(s.text for s in segments), segments, "en", 60.0)


def letters(text):
    """The text without whitespace and the control characters that no subtitle can hold."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]", "", text)


nasty = st.sampled_from(
    ["-->", "\n\n", "\r\n", "\x00", "\u2028", " ", "&amp;", "<b>", "WEBVTT", "NOTE", "1", "مرحبا ", "שלום"]
    + ["👩‍👩‍👧 ", "e\u0301", "你好", "，", "「", "สวัสดี", "한국어 ", "ゃ", "word ", "a" * 50, ". ", '"', "\ufeff"]
)
texts = st.lists(st.one_of(nasty, st.text(max_size=6)), max_size=30).map("".join)
seconds = st.one_of(st.floats(0, 30), st.floats(0, 500_000))
moments = st.one_of(st.none(), seconds)
any_float = st.floats(allow_nan=False, allow_infinity=False)
maybe_float = st.one_of(st.none(), any_float)


@st.composite
def segments(draw):
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=len(text))))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    kind = draw(st.sampled_from(["none", "even", "any"]))
    step = draw(st.floats(0, 2))
    tokens = []
    for i, part in enumerate(parts):
        times = {"none": (None, None), "even": (i * step, (i + 1) * step), "any": None}[kind]
        start, end = times or (draw(moments), draw(moments))
        alternatives = draw(st.sampled_from([(), (Alternative(3, "x", -0.5), Alternative(4, "", -2.0))]))
        tokens.append(Token(i, part, draw(any_float), start, end, alternatives, draw(maybe_float)))
    if draw(st.booleans()):
        text = text.strip()
    flags = [draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from([None, False, True]))]
    return Segment(text, draw(seconds), draw(seconds), tuple(tokens), *flags)


timings = st.builds(
    Timings, steps=st.integers(0), read=st.floats(0, 9), tokens=st.integers(0), peak_memory=st.none() | st.integers(0)
)
transcripts = st.builds(
    Transcript,
    texts,
    st.lists(segments(), max_size=4).map(tuple),
    st.none() | st.text(),
    seconds,
    timings,
    st.none() | st.text(),
)

labels = st.sampled_from([None, "S1", "S2", "Ann <b>\n\nS2: no", "\u2028", "a\x85b\x1b[2J"])
tags = st.builds(Tags, st.none() | texts, st.lists(texts, max_size=2).map(tuple))
nbest = st.lists(st.builds(Candidate, texts, any_float, any_float), max_size=2).map(tuple)


@st.composite
def labelled_transcripts(draw):
    """Transcripts with speakers, tags and alternatives."""
    t = draw(transcripts)
    known = [replace(s, speaker=draw(labels), tags=draw(tags), nbest=draw(nbest)) for s in t.segments]
    return replace(t, segments=tuple(known), tags=draw(tags))
