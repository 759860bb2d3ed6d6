"""What can go wrong, by kind. Every message says what was wrong, where, and what to do."""


class NanoASRError(Exception):
    """Any error that nanoasr raises on purpose; catch this one to catch them all."""


class AudioError(NanoASRError):
    """A recording could not be used; the message starts with its name."""


class AudioFormatError(AudioError):
    """Not audio at all, or in a form that cannot be decoded."""


class AudioEmptyError(AudioError):
    """Readable, but with nothing to recognize: no samples, or fewer than one frame of them."""


class AudioTooLongError(AudioError):
    """Longer than the limit that the caller set."""


class CheckpointError(NanoASRError):
    """A checkpoint is missing, incomplete, or of an unknown kind."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint file asks for more than tensors; nothing in it was run."""


class HubError(CheckpointError):
    """A checkpoint could not be fetched from the hub."""


class OptionError(NanoASRError, ValueError):
    """An argument has a value that cannot be used; the message lists those that can."""
