"""`nanoasr live`: transcribe a microphone, or a file, while it is heard."""

import argparse
import queue
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import NanoASRError, OptionError
from ..results.transcript import FORMATS, Transcript
from ..results.words import one_line
from .arguments import add_model, add_speech
from .console import print_message

if TYPE_CHECKING:
    import numpy as np

    from ..live.session import LiveSession, Update

_BLOCK = 0.1  # seconds
_DIM, _PLAIN, _CLEAR = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "live",
        help="transcribe the microphone while somebody speaks",
        description="""Transcribe a microphone, or a file, while it is heard.

On a terminal the current segment is redrawn as it grows: committed words are plain, tentative words are dim. In a pipe
every finished segment is a line. Ctrl-C stops and keeps what was heard.""",
        epilog="""examples:
  %(prog)s
  %(prog)s --save meeting.srt --language en
  %(prog)s --file talk.wav --realtime

The microphone needs the sounddevice package: pip install sounddevice.""",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--file", type=Path, metavar="FILE", help="a recording instead of the microphone")
    add("--realtime", action="store_true", help="play the file at its own pace")
    add("--device", metavar="NAME", help="microphone: its number or a part of its name")
    add("--save", type=Path, metavar="FILE", help=f"write the transcript at the end: .{', .'.join(FORMATS)}")
    add("--interval", type=float, default=0.5, metavar="S", help="seconds between two hypotheses (default 0.5)")
    add("--verbose", action="store_true", help="print cost and latency on stderr at the end")
    add_speech(parser)
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Transcribe until the file ends or Ctrl-C, and save the transcript if asked to."""
    from ..decode.prompt import split_hotwords
    from ..live.session import LiveOptions, Update
    from ..recognizer import load

    if args.realtime and not args.file:
        raise OptionError("--realtime plays a --file at its own pace: name one")
    if args.save and args.save.suffix.lower().removeprefix(".") not in FORMATS:
        raise OptionError(f"--save {args.save}: its suffix must be one of .{', .'.join(FORMATS)}")
    options = LiveOptions(interval=args.interval, realtime=args.realtime or not args.file)
    asr = load(args.model, quantize=args.quantize, dtype=args.dtype)
    hotwords = [word for entry in args.hotwords for word in split_hotwords(entry)]
    delays: list[float] = []
    screen = Screen(sys.stdout)

    def show(update: Update) -> None:
        screen.show(update)
        delays.extend(update.latency.commit)

    blocks = from_file(args.file, args.realtime) if args.file else from_microphone(args.device)
    with asr.stream(
        language=args.language,
        hotwords=hotwords,
        itn=args.itn,
        speakers=args.speakers,
        options=options,
        on_update=show,
    ) as session:
        transcript = listen(session, blocks)
    if args.save:
        transcript.save(args.save)
    if args.verbose:
        print_message(f"{transcript.duration:.1f} s heard; {session.latency}")
        if delays:
            median = sorted(delays)[len(delays) // 2]
            print_message(f"words were committed {median:.2f} s after their end (median of {len(delays)})")
    return 0


def listen(session: "LiveSession", blocks: "Iterator[np.ndarray]") -> Transcript:
    """Push blocks into a session until they end or Ctrl-C, and return the whole transcript."""
    try:
        for block in blocks:
            session.push(block)
    except KeyboardInterrupt:
        print_message("stopped")
    return session.finish()


class Screen:
    """Shows updates: a terminal's last line is redrawn with the open segment, a pipe gets finished segments only."""

    def __init__(self, out: TextIO):
        self._out, self._redraws = out, out.isatty()

    def show(self, update: "Update") -> None:
        """Print finished segments and redraw the open one."""
        for segment in update.segments:
            speaker = f"{segment.speaker}: " if segment.speaker else ""
            self._out.write(f"{_CLEAR if self._redraws else ''}{speaker}{one_line(segment.text)}\n")
        if self._redraws:
            room = max(shutil.get_terminal_size().columns - 1, 10)
            committed, tentative = _cleaned(update.committed), _cleaned(update.tentative)
            hidden = max(len(committed) + len(tentative) - room, 0)  # show the end of a long segment
            tentative = tentative[max(hidden - len(committed), 0) :]
            self._out.write(f"{_CLEAR}{committed[hidden:]}{_DIM}{tentative}{_PLAIN}")
        self._out.flush()


def _cleaned(text: str) -> str:
    """Replace control characters, which a model's text may have, and keep spaces at both ends."""
    return "".join(c if c.isprintable() else " " for c in text)


def from_file(path: Path, realtime: bool) -> "Iterator[np.ndarray]":
    """Read a recording's samples in blocks: at once, or at the pace of the recording."""
    import numpy as np

    from ..audio.files import SAMPLE_RATE, read_blocks

    start, at = time.monotonic(), 0.0
    waiting: list[np.ndarray] = []
    for block in read_blocks(path, seconds=_BLOCK):
        at += len(block) / SAMPLE_RATE
        waiting.append(block)
        ahead = at - (time.monotonic() - start) if realtime else 0.0
        if realtime and ahead < 0:
            continue  # late: hand over all that is due in one block
        time.sleep(ahead)
        yield np.concatenate(waiting)
        waiting.clear()
    if waiting:
        yield np.concatenate(waiting)


def from_microphone(device: str | None) -> "Iterator[np.ndarray]":
    """Yield what a microphone hears, at 16 kHz, without end."""
    import numpy as np

    from ..audio.files import SAMPLE_RATE

    try:
        import sounddevice
    except ImportError:
        raise NanoASRError(
            "the microphone needs the sounddevice package: pip install sounddevice (or use --file)"
        ) from None
    except OSError as error:  # sounddevice without PortAudio
        raise NanoASRError(f"the microphone cannot be used ({error}); on Debian: apt install libportaudio2") from None
    heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    size = round(_BLOCK * SAMPLE_RATE)
    chosen = int(device) if device and device.isdecimal() else device
    try:
        microphone = sounddevice.InputStream(
            SAMPLE_RATE, size, chosen, 1, "float32", callback=lambda block, *_: heard.put(block[:, 0].copy())
        )
        with microphone:
            print_message("listening; Ctrl-C stops")
            while True:
                blocks = [heard.get()]
                while not heard.empty():
                    blocks.append(heard.get())
                yield np.concatenate(blocks)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise NanoASRError(f"the microphone cannot be opened ({error}); --device names another") from None
