"""Decode PCM16 and G.711 audio of realtime sessions."""

from dataclasses import dataclass

import numpy as np

TELEPHONE_RATE = 8000
PCM_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class AudioFormat:
    """Encoding of a session's audio: "audio/pcm" (16 bits, little-endian), "audio/pcmu" or "audio/pcma"; mono."""

    type: str = "audio/pcm"
    rate: int = 24000

    @property
    def sample_bytes(self) -> int:
        """Bytes a sample."""
        return 2 if self.type == "audio/pcm" else 1

    def seconds(self, size: int) -> float:
        """Duration of that many bytes."""
        return size / (self.sample_bytes * self.rate)

    def decode(self, content: bytes) -> np.ndarray:
        """Whole samples as float32 in [-1, 1)."""
        if self.type == "audio/pcm":
            return np.frombuffer(content, "<i2").astype(np.float32) / 32768
        table = _MU_LAW if self.type == "audio/pcmu" else _A_LAW
        return table[np.frombuffer(content, np.uint8)]


def _mu_law() -> np.ndarray:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.float32) / 32768


def _a_law() -> np.ndarray:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.float32) / 32768


_MU_LAW, _A_LAW = _mu_law(), _a_law()
