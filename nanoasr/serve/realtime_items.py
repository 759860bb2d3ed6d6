"""Turn updates of a live session into conversation items and their events."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import NanoASRError
from ..live.session import LiveOptions, LiveSession, Update
from ..recognizer import Recognizer
from ..results.transcript import Token, join_texts
from . import formats
from .errors import APIError, from_library
from .metrics import Metrics
from .realtime_config import SessionConfig

_SHORTEST_COMMIT = 0.1
_TRANSCRIPTION = "conversation.item.input_audio_transcription"
REVISED = f"{_TRANSCRIPTION}.revised"  # extension: the final text differs from the deltas that were sent


@dataclass
class _Item:
    """An utterance: where it began, in seconds of its live session, and the text sent so far."""

    start: float
    id: str = ""
    sent: str = ""

    def __post_init__(self) -> None:
        self.id = f"item_{secrets.token_hex(10)}"


class Listener:
    """Feeds audio to a live session and emits events. Blocking calls, one at a time; only `close` may come between.

    With turn detection every segment that the detector finds is an item. Without, an item is what the client commits.
    """

    def __init__(self, asr: Recognizer, config: SessionConfig, emit: Callable[[dict], None], metrics: Metrics):
        self._emit, self._metrics = emit, metrics
        self._asr, self._config = asr, config
        self._live = self._open(asr, config)
        self._before = self._heard = 0.0  # seconds of audio: before the live session, and in it
        self._rest = b""  # half a sample
        self._item: _Item | None = None
        self._last_id: str | None = None
        self._finished: list[str] = []  # texts of segments of the buffer that is not committed yet
        self._stale = self._closed = False

    def push(self, content: bytes) -> None:
        """Transcribe more audio. A backlog comes at once, so that the session skips hypotheses that are out of date."""
        form = self._config.format
        content = self._rest + content
        whole = len(content) // form.sample_bytes * form.sample_bytes
        self._rest = content[whole:]
        samples = form.decode(content[:whole])
        self._heard += len(samples) / form.rate
        self._live.push(samples)
        if self._config.turn_detection:
            self._follow(self._live.open_since)

    def commit(self) -> None:
        """End the current item, as the client commits the buffer."""
        if self._heard < _SHORTEST_COMMIT:
            raise APIError(
                400,
                f"Error committing input audio buffer: buffer too small. Expected at least "
                f"{1000 * _SHORTEST_COMMIT:.0f}ms of audio, but buffer only has {1000 * self._heard:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        if self._config.turn_detection:
            self._finish_turns()
        else:
            self._finish_buffer()

    def clear(self) -> None:
        """Drop the audio that is not committed."""
        self._live.close()
        self._item = None
        self._restart()
        self._emit({"type": "input_audio_buffer.cleared"})

    def reconfigure(self, asr: Recognizer, config: SessionConfig) -> None:
        """Apply another configuration: at once with turn detection, else from the next buffer."""
        changed = (asr, config) != (self._asr, self._config)
        waits = changed and self._heard > 0 and not self._config.turn_detection
        if waits and (config.format, config.turn_detection) != (self._config.format, None):
            raise APIError(
                400,
                "Commit or clear the input audio buffer before changing its format or turning on turn detection.",
                code="input_audio_buffer_not_empty",
            )
        if not changed:
            return
        self._open(asr, config).close()  # raises for a language or words that the model does not take
        if self._heard > 0 and self._config.turn_detection:
            self._finish_turns(asr, config)
            return
        self._asr, self._config, self._stale = asr, config, waits
        if not waits:
            self._live.close()
            self._restart()

    def close(self) -> None:
        """Stop at once; any thread may call this."""
        self._closed = True
        self._live.close()

    # live sessions

    def _open(self, asr: Recognizer, config: SessionConfig) -> LiveSession:
        options = LiveOptions(realtime=True)
        if config.turn_detection:
            options = LiveOptions(realtime=True, vad=config.turn_detection.options())
        return asr.stream(
            language=config.one_language,
            hotwords=config.hotwords,
            options=options,
            sample_rate=config.format.rate,
            on_update=self._updated,
        )

    def _restart(self) -> None:
        self._metrics.count_audio(self._heard, self._live.latency.work)
        self._live = self._open(self._asr, self._config)
        self._before += self._heard
        self._heard, self._rest, self._finished, self._stale = 0.0, b"", [], False
        if self._closed:
            self._live.close()

    def _updated(self, update: Update) -> None:
        if self._closed:
            return
        if self._config.turn_detection:
            for segment in update.segments:
                self._end_turn(segment.text, segment.start, segment.end, segment.tokens)
            self._follow(update.start)
            if self._item:
                self._extend(self._item, update.committed)
        else:
            self._finished += [segment.text for segment in update.segments]
            text = join_texts([*self._finished, update.committed])
            if text:
                self._item = self._item or _Item(0.0)
                self._extend(self._item, text)

    # turns that the detector finds

    def _follow(self, start: float | None) -> None:
        """Start or end items as the detector opens and closes segments; `start` is that of the open one."""
        item = self._item
        if item and start is not None and start != item.start and not item.sent:
            item.start = start  # the detector moved the beginning, or an empty segment went by
        elif item and start != item.start:
            self._end_turn("", item.start, self._heard, ())
        if start is not None and self._item is None:
            self._start_turn(start)

    def _start_turn(self, start: float) -> _Item:
        self._item = _Item(start)
        started = {"audio_start_ms": self._milliseconds(start), "item_id": self._item.id}
        self._emit({"type": "input_audio_buffer.speech_started"} | started)
        return self._item

    def _end_turn(self, text: str, start: float, end: float, tokens: Iterable[Token]) -> None:
        item = self._item or self._start_turn(start)
        self._item = None
        stopped = {"audio_end_ms": self._milliseconds(end), "item_id": item.id}
        self._emit({"type": "input_audio_buffer.speech_stopped"} | stopped)
        self._committed(item)
        self._complete(item, text, end - start, tokens)

    def _finish_turns(self, asr: Recognizer | None = None, config: SessionConfig | None = None) -> None:
        try:
            self._live.finish()  # emits what was open
        except NanoASRError as error:
            if not self._closed:
                raise from_library(error) from error
        if self._item:
            self._end_turn("", self._item.start, self._heard, ())
        self._asr, self._config = asr or self._asr, config or self._config
        self._restart()

    def _milliseconds(self, seconds: float) -> int:
        return round(1000 * (self._before + seconds))

    # buffers that the client commits

    def _finish_buffer(self) -> None:
        item = self._item = self._item or _Item(0.0)
        self._committed(item)
        try:
            transcript = self._live.finish()
        except NanoASRError as error:
            if not self._closed:
                failed = {"item_id": item.id, "content_index": 0, "error": from_library(error).error}
                self._emit({"type": f"{_TRANSCRIPTION}.failed"} | failed)
        else:
            self._complete(item, transcript.text, transcript.duration, transcript.tokens)
        self._item = None
        self._restart()

    # events of items

    def _committed(self, item: _Item) -> None:
        before = {"previous_item_id": self._last_id}
        self._last_id = item.id
        self._emit({"type": "input_audio_buffer.committed", "item_id": item.id} | before)
        for name in ("created", "added"):  # the earlier and the current event
            self._emit({"type": f"conversation.item.{name}", "item": _content(item, None)} | before)

    def _extend(self, item: _Item, text: str) -> None:
        """Send a delta if the text extends what was sent."""
        if len(text) > len(item.sent) and text.startswith(item.sent):
            delta = {"item_id": item.id, "content_index": 0, "delta": text[len(item.sent) :]}
            self._emit({"type": f"{_TRANSCRIPTION}.delta"} | delta)
            item.sent = text

    def _complete(self, item: _Item, text: str, seconds: float, tokens: Iterable[Token]) -> None:
        where = {"item_id": item.id, "content_index": 0}
        if text.startswith(item.sent):
            self._extend(item, text)
        else:
            self._emit({"type": REVISED} | where | {"committed": item.sent, "transcript": text})
        completed = {"transcript": text, "usage": formats.usage_by_duration(seconds)}
        if self._config.logprobs:
            completed["logprobs"] = formats.logprobs(tokens)
        self._emit({"type": f"{_TRANSCRIPTION}.completed"} | where | completed)
        self._emit({"type": "conversation.item.done", "item": _content(item, text)})


def _content(item: _Item, transcript: str | None) -> dict:
    content = [{"type": "input_audio", "transcript": transcript}]
    return {
        "id": item.id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": content,
    }
