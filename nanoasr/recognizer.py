"""The whole pipeline: a recording in any form -> a Transcript."""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import mlx.core as mx
import numpy as np

from . import backend
from .audio.features import FEATURE_SIZE, features, filterbank
from .audio.files import SAMPLE_RATE, Audio, load_audio
from .audio.reader import read_ahead
from .audio.vad import VadOptions
from .checkpoint.ctc_tokens import load_ctc_tokens
from .checkpoint.load import Checkpoint, load_checkpoint
from .checkpoint.quantize import Quantization
from .decode.generate import Request, generate
from .decode.prompt import LANGUAGES, NANO_LANGUAGES, Language, Prompt, build_prompt, clean_hotwords, find_language
from .decode.sampling import Sampling
from .decode.text import TextStream
from .errors import NanoASRError, OptionError
from .introspection.attention import TextAttention, encoder_attention, text_attention
from .introspection.info import Info, describe
from .live.session import LiveOptions, LiveSession, Update
from .model.config import AudioTokens
from .pipeline import Listeners, Wish, transcripts
from .results.transcript import Segment, Token, Transcript

GREEDY = Sampling()
_INSPECTED_SECONDS = 30.0
_MOST_FEATURES = 500  # of 60 ms: the 30 s that `inspect` gives


def load(
    source: "str | Path | None" = None,
    *,
    quantize: str | Quantization | None = None,
    dtype: str | None = None,
    audio_tokens: AudioTokens | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> "Recognizer":
    """Load a recognizer.

    source        None for the bundled checkpoint; else a folder, a preset ("nano", "mlt-nano", …), or a repository:
                  "owner/name" or "hf:owner/name" on Hugging Face, "ms:owner/name" on ModelScope, with "@revision"
                  if need be; downloads show a progress bar
    quantize      None, "llm-8bit", "llm-4bit", "all-8bit", "all-4bit" or a Quantization
    dtype         "bfloat16" (default on a GPU) or "float32"; a CPU always computes in float32
    audio_tokens  "low" or "full" instead of the checkpoint's own setting
    on_progress   called with the share of the weights that is read, from 0 to 1
    """
    return Recognizer(backend.run(load_checkpoint, source, quantize, dtype, audio_tokens, on_progress))


@dataclass(frozen=True)
class Inspection:
    """One recording at every stage; arrays are evaluated and may be used on any thread."""

    samples: mx.array  # [N]
    filterbank: mx.array  # [T, 80]
    features: mx.array  # [T', 560]
    encoded: mx.array  # [T', D]
    adapted: mx.array  # [T'', L]
    audio_tokens: mx.array  # [A, L]: the first of `adapted`, or all
    ctc_logprobs: mx.array | None  # [T', V]
    prefix_ids: mx.array  # the prompt before the audio
    suffix_ids: mx.array  # and after it
    first_logits: mx.array  # [V]: scores of the first token to be written


class Recognizer:
    """A loaded checkpoint that turns speech into text. Any thread may call it; make one with `nanoasr.load`."""

    sample_rate = SAMPLE_RATE

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        has_ctc = checkpoint.model.config.ctc is not None
        self.ctc_tokens = load_ctc_tokens(checkpoint.layout, checkpoint.tokenizer) if has_ctc else None

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages that can be asked for."""
        layout = self.checkpoint.layout
        if layout.languages:
            return tuple(language for language in LANGUAGES if language.prompt in layout.languages)
        # Fun-ASR-Nano and -MLT-Nano have the same config: only the repository tells them apart.
        return NANO_LANGUAGES if "fun-asr-nano" in (layout.hub_id or "").lower() else LANGUAGES

    def transcribe(
        self,
        audio: "str | Path | bytes | np.ndarray | object",
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
        sampling: Sampling = GREEDY,
        timestamps: bool = True,
        alternatives: bool = False,
        vad: VadOptions | bool = True,
        batch_size: int | None = None,
        max_seconds: float | None = None,
        on_token: Callable[[str], None] | None = None,
        on_segment: Callable[[Segment], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Transcript:
        """Transcribe one recording: a file of any kind, bytes, a file object, or an array.

        sample_rate   of an array (16,000 unless said otherwise)
        language      a code ("en") or name, None to let the model tell; `languages` lists them
        hotwords      words to listen for
        itn           numbers and dates in figures (if the checkpoint was trained so)
        sampling      how tokens are chosen; greedy by default
        timestamps    times for tokens and words, where the checkpoint has a CTC branch
        alternatives  also keep the five likeliest tokens at every step
        vad           cut at pauses, and skip what is not speech; False cuts at quiet places only
        batch_size    segments decoded together; 1 where `on_token` is given, as text then comes in order
        max_seconds   refuse recordings that are longer
        on_token      called with each new piece of text; on_segment with each finished Segment; on_progress with
                      the seconds of audio done; all on other threads. `cancelled` is asked now and then: True
                      ends with what there is so far

        A recording no longer than one segment (15 s) is decoded whole and untrimmed. Silence and noise give empty
        text without being decoded.
        """
        wish = self._wish(language, hotwords, itn, sampling, timestamps, alternatives)
        default = 1 if backend.on_cpu else 8
        size = _batch_size(1 if on_token else default if batch_size is None else batch_size)
        start = time.perf_counter()
        recordings = read_ahead([audio], sample_rate, _vad_options(vad), max_seconds, workers=1)
        listeners = Listeners(on_token, on_segment, on_progress, cancelled)
        result = next(transcripts(self.checkpoint, wish, recordings, size, size, listeners))
        if isinstance(result, NanoASRError):
            raise result
        return replace(result, timings=replace(result.timings, total=time.perf_counter() - start))

    def transcribe_batch(
        self,
        sources: Iterable,
        *,
        batch_size: int = 16,
        sample_rate: int | None = None,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
        sampling: Sampling = GREEDY,
        timestamps: bool = True,
        vad: VadOptions | bool = True,
        max_seconds: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> "Iterator[Transcript | NanoASRError]":
        """Transcribe many recordings, segments of all of them decoded together; results come in order.

        A recording that cannot be used gives its error in its place and never stops the rest. Arguments are
        those of `transcribe`; what it takes as a recording is here a batch of one.
        """
        sources, batch_size = _recordings(sources), _batch_size(batch_size)
        wish = self._wish(language, hotwords, itn, sampling, timestamps)
        recordings = read_ahead(sources, sample_rate, _vad_options(vad), max_seconds)
        listeners = Listeners(on_progress=on_progress)
        return transcripts(self.checkpoint, wish, recordings, batch_size, 4 * batch_size, listeners)

    def stream(
        self,
        *,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
        sampling: Sampling = GREEDY,
        timestamps: bool = True,
        options: LiveOptions | None = None,
        sample_rate: int = SAMPLE_RATE,
        on_update: Callable[[Update], None] | None = None,
    ) -> LiveSession:
        """Listen live: `push` samples (mono, at `sample_rate`) into the session that comes back.

        options    how often to guess, when to commit, where segments end; a microphone wants
                   `LiveOptions(realtime=True)`
        on_update  called with every update; `push` returns the last of those that its samples brought
        The other arguments are those of `transcribe`. Several sessions may share a recognizer.
        """
        wish = self._wish(language, hotwords, itn, sampling, timestamps)
        return LiveSession(self.checkpoint, wish, LiveOptions() if options is None else options, sample_rate, on_update)

    def inspect(
        self,
        audio: "str | Path | bytes | np.ndarray | object",
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
    ) -> Inspection:
        """One segment of at most 30 s at every stage of the network, for looking inside."""
        recording = load_audio(audio, sample_rate, max_seconds=_INSPECTED_SECONDS)
        prompt = self._prompt(language, hotwords, itn)
        return backend.run(self._inspect, recording, prompt)

    def _inspect(self, recording: Audio, prompt: Prompt) -> Inspection:
        model, samples = self.checkpoint.model, mx.array(recording.samples)
        bank = filterbank(samples)
        x = features(samples, cmvn=self.checkpoint.cmvn)
        encoded = model.encode(x[None])
        adapted = model.adapt(encoded)[0]
        audio_tokens = adapted[: model.audio_token_count(x.shape[0])]
        prefix, suffix = mx.array(prompt.prefix), mx.array(prompt.suffix)
        embedded = mx.concatenate([model.llm.embed(prefix), audio_tokens, model.llm.embed(suffix)])
        logits = model.llm.logits(model.llm(embedded[None])[:, -1])[0]
        ctc = model.ctc_logprobs(encoded)[0] if model.config.ctc else None
        found = Inspection(samples, bank, x, encoded[0], adapted, audio_tokens, ctc, prefix, suffix, logits)
        mx.eval([value for value in vars(found).values() if value is not None])
        return found

    @property
    def encoder_layers(self) -> int:
        """How many layers `attention` can be asked for."""
        config = self.checkpoint.model.config.encoder
        return config.num_blocks + config.tp_blocks

    @property
    def text_layers(self) -> int:
        """How many layers `text_attention` can be asked for."""
        return self.checkpoint.model.config.llm.num_hidden_layers

    def attention(self, audio: "Inspection | str | Path | bytes | np.ndarray | object", layer: int = -1) -> mx.array:
        """Where each frame looks in one layer of the encoder: [heads, T', T'], each row sums to 1.

        audio   what `inspect` takes or, quicker for many layers, what it gave
        layer   0 is the first, -1 the last
        """
        x = audio if isinstance(audio, Inspection) else self.inspect(audio)
        return backend.run(encoder_attention, self.checkpoint, x, layer)

    def text_attention(
        self,
        audio: "Inspection | str | Path | bytes | np.ndarray | object",
        layer: int = -1,
        tokens: Sequence[Token] | None = None,
    ) -> TextAttention:
        """Where the language model looks in one of its layers as it chooses each token.

        audio, layer   as for `attention`
        tokens         of a transcript, to be looked at as if the model chose them; None for its own greedy ones
        """
        x = audio if isinstance(audio, Inspection) else self.inspect(audio)
        return backend.run(text_attention, self.checkpoint, x, layer, tokens)

    def transcribe_features(
        self, features: "mx.array | np.ndarray", *, language: str | None = None, sampling: Sampling = GREEDY
    ) -> str:
        """The text for features [T', 560] of one segment: those of `inspect`, or others, altered or made elsewhere."""
        if features.ndim != 2 or features.shape[1] != FEATURE_SIZE or not 0 < features.shape[0] <= _MOST_FEATURES:
            raise OptionError(
                f"features of shape {[*features.shape]}: give [frames, {FEATURE_SIZE}], 1 to {_MOST_FEATURES} frames"
            )
        wish = self._wish(language, None, True, sampling, timestamps=False)
        given = features.astype(mx.float32) if isinstance(features, mx.array) else features
        return backend.run(self._read_features, np.array(given, np.float32), wish)  # evaluated on the caller's thread

    def _read_features(self, features: np.ndarray, wish: Wish) -> str:
        model, tokenizer = self.checkpoint.model, self.checkpoint.tokenizer
        adapted = model.adapt(model.encode(mx.array(features)[None]))[0]
        before, after = (model.llm.embed(mx.array(ids)) for ids in (wish.prompt.prefix, wish.prompt.suffix))
        x = mx.concatenate([before, adapted[: model.audio_token_count(features.shape[0])], after])
        seed = random.getrandbits(48) if wish.sampling.seed is None else wish.sampling.seed
        [(_, generated)] = generate(model, [Request(x, seed)], wish.sampling, tokenizer.end_ids)
        stream = TextStream(tokenizer)
        for token_id in generated.ids:
            stream.token_text(token_id)
        return stream.text

    def info(self) -> Info:
        """What is loaded and what it runs on; print it."""
        codes = tuple(language.code for language in self.languages)
        return describe(self.checkpoint, codes, self.ctc_tokens is not None)

    def _prompt(self, language: str | None, hotwords: Sequence[str] | None, itn: bool) -> Prompt:
        found = find_language(language, self.languages)
        return build_prompt(self.checkpoint.tokenizer, found, clean_hotwords(hotwords), itn)

    def _wish(
        self,
        language: str | None,
        hotwords: Sequence[str] | None,
        itn: bool,
        sampling: Sampling,
        timestamps: bool,
        alternatives: bool = False,
    ) -> Wish:
        if not isinstance(sampling, Sampling):
            raise OptionError(f"sampling={sampling!r:.80}: give a Sampling(…)")
        found = find_language(language, self.languages)
        return Wish(
            prompt=self._prompt(language, hotwords, itn),
            language=found.code if found else None,
            sampling=sampling,
            ctc_tokens=self.ctc_tokens if timestamps else None,
            alternatives=alternatives,
        )


def _recordings(sources: object) -> Iterable:
    """A path, bytes, an open file, samples, and a rate with samples can be iterated over too; nobody means that."""
    file = isinstance(sources, str | bytes | bytearray | os.PathLike) or hasattr(sources, "read")
    samples = isinstance(sources, np.ndarray) and sources.ndim == 1 and sources.dtype != object
    pair = isinstance(sources, tuple) and len(sources) == 2 and isinstance(sources[0], Integral)
    if file or samples or pair:
        return [sources]
    if not isinstance(sources, Iterable):
        raise OptionError(f"transcribe_batch({sources!r:.80}): give a list of recordings, such as paths")
    return sources


def _batch_size(size: int) -> int:
    if not isinstance(size, Integral) or size < 1:
        raise OptionError(f"batch_size={size!r:.80}: must be a whole number, 1 or more")
    return int(size)


def _vad_options(vad: VadOptions | bool) -> VadOptions | None:
    if not isinstance(vad, VadOptions | bool):
        raise OptionError(f"vad={vad!r:.80}: use True, False or VadOptions(…)")
    return VadOptions() if vad is True else vad or None
