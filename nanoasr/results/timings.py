"""How long each stage of a transcription took."""

from __future__ import annotations

from dataclasses import dataclass, fields

_STAGES = ("read", "vad", "features", "encoder", "adaptor", "prefill", "decode", "align", "speakers")


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that each stage took, and counts of tokens. `a + b` adds them up; printed, it is a table.

    steps        decoder passes after the prefill
    drafted      draft tokens that these passes verified, `accepted` those that were kept
    peak_memory  bytes, where the device reports them
    """

    read: float = 0.0
    vad: float = 0.0
    features: float = 0.0
    encoder: float = 0.0
    adaptor: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    align: float = 0.0
    total: float = 0.0
    audio_seconds: float = 0.0
    tokens: int = 0
    peak_memory: int | None = None
    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    speakers: float = 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of audio: below 1 is faster than real time. 0 without audio."""
        return self.total / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of decoding, prefill included: drafts are checked there. 0 where nothing was decoded."""
        seconds = self.prefill + self.decode
        return self.tokens / seconds if seconds else 0.0

    def __add__(self, other: Timings) -> Timings:
        if not isinstance(other, Timings):
            return NotImplemented
        peaks = [timings.peak_memory for timings in (self, other) if timings.peak_memory is not None]
        summed = [f.name for f in fields(Timings) if f.name != "peak_memory"]
        sums = {name: getattr(self, name) + getattr(other, name) for name in summed}
        return Timings(**sums, peak_memory=max(peaks, default=None))

    def table(self) -> str:
        """Return each stage with its seconds and its share of the total, as lines of plain text."""
        stages = {name: getattr(self, name) for name in _STAGES}
        stages["other"] = max(0.0, self.total - sum(stages.values()))
        stages["total"] = self.total
        lines = [f"{'stage':<10}{'seconds':>10}{'share':>9}"]
        for name, seconds in stages.items():
            share = f"{100 * seconds / self.total:.1f} %" if self.total else "-"
            lines.append(f"{name:<10}{seconds:>10.3f}{share:>9}")
        lines.append(f"{self.audio_seconds:.1f} s of audio, real-time factor {self.real_time_factor:.3f}")
        lines.append(f"{self.tokens} tokens, {self.tokens_per_second:.1f} per second")
        if self.steps:
            drafts = f"; {self.accepted} of {self.drafted} drafted tokens accepted" if self.drafted else ""
            lines.append(f"{self.steps} decoder steps, {self.tokens / self.steps:.1f} tokens each{drafts}")
        if self.peak_memory is not None:
            lines.append(f"peak memory {self.peak_memory / 2**20:.0f} MiB")
        return "\n".join(lines)

    __str__ = table
