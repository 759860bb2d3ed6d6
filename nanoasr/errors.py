"""Every error nanoasr raises on purpose. A message says what is wrong, where, and what to do."""

import contextlib
import re

_LONGEST_MESSAGE = 4000
# Control characters, line and paragraph separators, marks that change the writing direction, lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, limit: int = _LONGEST_MESSAGE) -> str:
    """Return text that is safe to show in one line of a terminal or a log.

    Names of files and what checkpoints say of themselves come from strangers: terminal commands and line ends in
    them are written as escapes, and what is longer than `limit` loses its middle.
    """
    text = str(text)
    with contextlib.suppress(UnicodeEncodeError):  # other lone surrogates are escaped below
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a file name of another locale
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]} … {len(text) - 2 * half:,} characters left out … {text[-half:]}"
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


class NanoASRError(Exception):
    """The parent of all errors that nanoasr raises on purpose."""

    def __init__(self, message: object = ""):
        super().__init__(printable(message))


class AudioError(NanoASRError):
    """A recording cannot be used; the message starts with its name."""


class AudioFormatError(AudioError):
    """Not audio, or in a format that cannot be decoded."""


class AudioEmptyError(AudioError):
    """Readable, but without anything to recognize: no samples, or fewer than one frame of them."""


class AudioTooLongError(AudioError):
    """Longer than a limit, such as the `max_seconds` of the caller."""


class DetectorError(NanoASRError):
    """The voice-activity detector is missing or its process ended."""


class CheckpointError(NanoASRError):
    """A checkpoint is missing, incomplete, or of an unknown kind."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint file asks for more than tensors; nothing in it was run."""


class HubError(CheckpointError):
    """A checkpoint could not be downloaded from a hub."""


class OptionError(NanoASRError, ValueError):
    """An argument has an invalid value; the message lists the valid ones."""
