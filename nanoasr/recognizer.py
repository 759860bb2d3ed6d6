"""Load a checkpoint and transcribe: the public face of the package."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path

import mlx.core as mx
import numpy as np

from . import backend
from .audio.features import FEATURE_SIZE
from .audio.files import SAMPLE_RATE, load_audio
from .audio.reader import read_ahead
from .audio.vad import VadOptions
from .checkpoint.ctc_tokens import CTCTokens
from .checkpoint.load import Checkpoint, load_checkpoint
from .checkpoint.quantize import Quantization
from .decode.prompt import Language, clean_hotwords, find_language
from .decode.sampling import Sampling
from .errors import NanoASRError, OptionError
from .families import make_family
from .families.base import DecodeOptions, Inspection
from .introspection.attention import TextAttention, encoder_attention, text_attention
from .introspection.continuation import continue_text
from .introspection.info import Info, describe
from .live.events import LiveOptions, Update
from .live.session import LiveSession
from .model.config import AudioTokens
from .pipeline import Callbacks, new_seed, transcripts
from .results.transcript import Segment, Token, Transcript
from .scheduler import MOST_ROWS, CompanionScheduler, Scheduler
from .speakers import speaker_count

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
    on_progress   called with the fraction of the weights that is loaded, from 0 to 1
    """
    return Recognizer(backend.run(load_checkpoint, source, quantize, dtype, audio_tokens, on_progress))


class Recognizer:
    """A loaded checkpoint that turns speech into text. Any thread may call it; make one with `nanoasr.load`.

    Concurrent calls share the model fairly: their segments are decoded together.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.model_family = make_family(checkpoint)
        self.scheduler = Scheduler(self.model_family)

    @property
    def family(self) -> str:
        """The kind of recognizer: "nano", "sensevoice" or "paraformer"."""
        return self.model_family.name

    @property
    def ctc_tokens(self) -> CTCTokens | None:
        """The text units of Fun-ASR-Nano's CTC branch; None where there is none."""
        return getattr(self.model_family, "ctc_tokens", None)

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages that `language` may name."""
        return self.model_family.languages

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
        draft: "str | Recognizer | None" = "auto",
        speakers: bool | int = False,
        vad: VadOptions | bool = True,
        batch_size: int | None = None,
        max_seconds: float | None = None,
        on_token: Callable[[str], None] | None = None,
        on_segment: Callable[[Segment], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Transcript:
        """Transcribe one recording: a file of any kind, bytes, a file object, or an array.

        sample_rate   of an array (16,000 by default)
        language      a code ("en") or name, None to detect it; `languages` lists them
        hotwords      words to listen for
        itn           write numbers and dates in figures (if the checkpoint was trained so)
        sampling      how tokens are chosen; greedy by default
        timestamps    align tokens and words with the audio, where the checkpoint can
        alternatives  also keep the five likeliest tokens at every step
        draft         "auto" checks drafts of the text where that is faster ("ctc": those of the CTC branch), another
                      Recognizer drafts in its place, None decodes one token a pass; greedy text is the same
        speakers      label segments and words with their speakers ("S1", "S2", …): True finds the number of speakers,
                      or give it; `on_segment` gets segments before they are labelled
        vad           split at pauses and skip what is not speech; False splits at quiet places only
        batch_size    segments decoded together; 1 where `on_token` is given, as text then comes in order
        max_seconds   refuse longer recordings
        on_token      called on the worker thread with each new piece of text; `cancelled` is polled there too: True
                      ends with the text so far. `on_segment` gets each finished Segment and `on_progress` the
                      seconds of audio done, on the calling thread

        A recording no longer than one segment (15 s) is decoded whole and untrimmed. Silence and noise give empty
        text without being decoded.
        """
        options = self.decode_options(language, hotwords, itn, sampling, timestamps, alternatives, draft)
        default = 1 if backend.on_cpu else 8
        size = _batch_size(1 if on_token else default if batch_size is None else batch_size)
        speaker_count(speakers)  # raises for values that cannot be used
        start = time.perf_counter()
        recordings = read_ahead([audio], sample_rate, _vad_options(vad), max_seconds, workers=1)
        callbacks = Callbacks(on_token, on_segment, on_progress, cancelled)
        result = next(transcripts(self._scheduler_for(draft), options, recordings, size, callbacks, speakers))
        if isinstance(result, NanoASRError):
            raise result
        return replace(result, timings=replace(result.timings, total=time.perf_counter() - start))

    def transcribe_batch(
        self,
        sources: Iterable,
        *,
        batch_size: int | None = None,
        sample_rate: int | None = None,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
        sampling: Sampling = GREEDY,
        timestamps: bool = True,
        draft: "str | Recognizer | None" = "auto",
        speakers: bool | int = False,
        vad: VadOptions | bool = True,
        max_seconds: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> "Iterator[Transcript | NanoASRError]":
        """Transcribe many recordings, segments of all of them decoded together; results come in order.

        A recording that cannot be used yields its error in its place and never stops the rest. `batch_size` is chosen
        by device if None; the other arguments are those of `transcribe`.
        """
        sources, size = _recordings(sources), MOST_ROWS if batch_size is None else _batch_size(batch_size)
        options = self.decode_options(language, hotwords, itn, sampling, timestamps, draft=draft)
        speaker_count(speakers)
        recordings = read_ahead(sources, sample_rate, _vad_options(vad), max_seconds)
        callbacks = Callbacks(on_progress=on_progress)
        return transcripts(self._scheduler_for(draft), options, recordings, size, callbacks, speakers)

    def stream(
        self,
        *,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
        sampling: Sampling = GREEDY,
        timestamps: bool = True,
        speakers: bool | int = False,
        options: LiveOptions | None = None,
        sample_rate: int = SAMPLE_RATE,
        on_update: Callable[[Update], None] | None = None,
    ) -> LiveSession:
        """Transcribe live: `push` samples (mono, at `sample_rate`) into the session that this returns.

        speakers   label segments as they end; a voice keeps its label through the session
        options    how often to decode, when to commit, where segments end; for a microphone use
                   `LiveOptions(realtime=True)`
        on_update  called with every update; `push` returns the last of those that its samples brought
        The other arguments are those of `transcribe`. Several sessions may share a recognizer.
        """
        decoding = self.decode_options(language, hotwords, itn, sampling, timestamps)
        live = LiveOptions() if options is None else options
        return LiveSession(self.scheduler, decoding, live, sample_rate, on_update, speakers)

    def inspect(
        self,
        audio: "str | Path | bytes | np.ndarray | object",
        *,
        sample_rate: int | None = None,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
    ) -> Inspection:
        """Return every stage of the network for one segment of at most 30 s."""
        recording = load_audio(audio, sample_rate, max_seconds=_INSPECTED_SECONDS)
        options = self.decode_options(language, hotwords, itn)
        return backend.run(self.model_family.inspect, recording.samples, options)

    @property
    def encoder_layers(self) -> int:
        """How many layers `attention` has."""
        config = self.model_family.encoder.config
        return config.num_blocks + config.tp_blocks

    @property
    def text_layers(self) -> int:
        """How many layers `text_attention` has."""
        self._require_nano("text_layers")
        return self.checkpoint.model.config.llm.num_hidden_layers

    def attention(self, audio: "Inspection | str | Path | bytes | np.ndarray | object", layer: int = -1) -> mx.array:
        """Return the attention weights of one encoder layer: [heads, T', T'], each row sums to 1.

        audio   what `inspect` takes or, quicker for many layers, what it returned
        layer   0 is the first, -1 the last
        """
        x = audio if isinstance(audio, Inspection) else self.inspect(audio)
        return backend.run(encoder_attention, self.model_family, x, layer)

    def text_attention(
        self,
        audio: "Inspection | str | Path | bytes | np.ndarray | object",
        layer: int = -1,
        tokens: Sequence[Token] | None = None,
    ) -> TextAttention:
        """Return the attention weights of one layer of the language model as it chooses each token.

        audio, layer   as for `attention`
        tokens         of a transcript, treated as if the model had chosen them; None for its own greedy ones
        """
        self._require_nano("text_attention")
        x = audio if isinstance(audio, Inspection) else self.inspect(audio)
        return backend.run(text_attention, self.checkpoint, x, layer, tokens)

    def continue_text(
        self, audio: "Inspection | str | Path | bytes | np.ndarray | object", ids: Sequence[int]
    ) -> list[Token]:
        """Return the tokens, greedily chosen, with which the model goes on after the token ids `ids`.

        `audio` is what `inspect` takes or returned. Give the ids of a transcript up to some token and then another id,
        such as that of one of its alternatives, to see what the model would have written.
        """
        self._require_nano("continue_text")
        x = audio if isinstance(audio, Inspection) else self.inspect(audio)
        size = self.checkpoint.model.llm.config.vocab_size
        if unknown := [i for i in ids if not 0 <= i < size]:
            raise OptionError(f"ids {unknown[:5]}: this checkpoint has tokens 0 to {size - 1}")
        return backend.run(continue_text, self.checkpoint, x, list(ids))

    def transcribe_features(
        self, features: "mx.array | np.ndarray", *, language: str | None = None, sampling: Sampling = GREEDY
    ) -> str:
        """Return the text for LFR features [T', 560] of one segment, such as those of `inspect`, altered or not."""
        self._require_nano("transcribe_features")
        if features.ndim != 2 or features.shape[1] != FEATURE_SIZE or not 0 < features.shape[0] <= _MOST_FEATURES:
            raise OptionError(
                f"features of shape {[*features.shape]}: give [frames, {FEATURE_SIZE}], 1 to {_MOST_FEATURES} frames"
            )
        options = self.decode_options(language, sampling=sampling, timestamps=False)
        given = features.astype(mx.float32) if isinstance(features, mx.array) else features
        x = np.array(given, np.float32)  # evaluated on the caller's thread
        return backend.run(self.model_family.decode_features, x, options, new_seed(sampling))

    def decode_options(
        self,
        language: str | None = None,
        hotwords: Sequence[str] | None = None,
        itn: bool = True,
        sampling: Sampling = GREEDY,
        timestamps: bool = True,
        alternatives: bool = False,
        draft: "str | Recognizer | None" = "auto",
    ) -> DecodeOptions:
        """Check options of `transcribe` and return them as the decoder takes them."""
        if not isinstance(sampling, Sampling):
            raise OptionError(f"sampling={sampling!r:.80}: give a Sampling(…)")
        if draft not in ("auto", "ctc", None) and not isinstance(draft, Recognizer):
            raise OptionError(f'draft={draft!r:.80}: use "auto", "ctc", another Recognizer or None')
        found = find_language(language, self.languages)
        return DecodeOptions(
            language=found.code if found else None,
            hotwords=clean_hotwords(hotwords),
            itn=itn,
            sampling=sampling,
            timestamps=timestamps,
            alternatives=alternatives,
            drafts=draft is not None,
        )

    def info(self) -> Info:
        """Describe what is loaded and what it runs on; print it."""
        return describe(self.model_family)

    def _scheduler_for(self, draft: "str | Recognizer | None") -> Scheduler | CompanionScheduler:
        if not isinstance(draft, Recognizer) or draft is self or self.family != "nano":
            return self.scheduler
        return CompanionScheduler(self.scheduler, draft.scheduler, self.checkpoint.tokenizer.encode)

    def _require_nano(self, what: str) -> None:
        if self.family != "nano":
            raise OptionError(
                f"{what}: a {self.family} checkpoint has no language model; load a Fun-ASR-Nano checkpoint"
            )


def _recordings(sources: object) -> Iterable:
    """Wrap a single recording in a list: paths, bytes and arrays are iterable, but nobody means that."""
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
