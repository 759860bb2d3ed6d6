"""What is loaded, and what it runs on."""

from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from .. import backend
from ..errors import printable
from ..families.base import Family


@dataclass(frozen=True)
class Info:
    """A loaded recognizer in figures; `str()` of it is for people."""

    source: str
    layout: str
    parameters: dict[str, int]  # by part
    megabytes: dict[str, float]  # in memory, by part
    precision: str
    audio_tokens: str | None  # "low" or "full", where a language model reads the audio
    timestamps: bool
    languages: tuple[str, ...]
    device: str
    blas: str | None
    notes: tuple[str, ...]
    family: str = "nano"
    aligner: str | None = "CTC"

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in self.parameters.items())
        audio = [f"{self.audio_tokens} rate of audio tokens"] if self.audio_tokens else []
        audio.append(f"token times by {self.aligner}" if self.timestamps else "no CTC branch, so no token times")
        lines = [
            f"checkpoint  {self.source} ({self.family}, {self.layout} layout)",
            f"parameters  {sum(self.parameters.values()) / 1e6:.1f} M: {parts}",
            f"memory      {sum(self.megabytes.values()):.0f} MB, {self.precision}",
            f"audio       {'; '.join(audio)}",
            f"languages   {', '.join(self.languages)}",
            f"device      {self.device}" + (f", BLAS {self.blas}" if self.blas else ""),
        ]
        return "\n".join(lines + [f"note        {note}" for note in self.notes])


def describe(family: Family) -> Info:
    """Collect the figures of a loaded recognizer."""
    checkpoint, layout, parts = family.checkpoint, family.checkpoint.layout, family.parts()
    notes = []
    if backend.on_cpu and checkpoint.precision != "stored as float32, computed in float32":
        notes.append("a CPU computes in float32 whatever is stored: only float32 products are fast there")
    elif backend.expands_quantized and "-bit" in checkpoint.precision:
        notes.append("quantized weights are expanded on this device, so they save no memory")
    notes += [note for note in (backend.blas_warning(), *checkpoint.notes, layout.card) if note]
    return Info(
        source=printable(layout.folder),
        layout=layout.name,
        parameters={name: sum(map(_parameters, modules)) for name, modules in parts.items()},
        megabytes={name: sum(map(_bytes, modules)) / 1e6 for name, modules in parts.items()},
        precision=checkpoint.precision,
        audio_tokens=getattr(layout.config, "audio_tokens", None),
        timestamps=family.aligner is not None,
        languages=tuple(language.code for language in family.languages),
        device=backend.device_name(),
        blas=Path(backend.blas_path).name if backend.on_cpu and backend.blas_path else None,
        notes=tuple(notes),
        family=family.name,
        aligner=family.aligner,
    )


def _arrays(layer: nn.Module) -> dict[str, mx.array]:
    return {name: x for name, x in layer.items() if isinstance(x, mx.array) and not name.startswith("_")}


def _parameters(module: nn.Module) -> int:
    total = 0
    for layer in module.modules():
        arrays = _arrays(layer)
        if "scales" in arrays:  # quantized: an integer of 32 bits holds several weights
            total += arrays.pop("weight").size * 32 // layer.bits
            del arrays["scales"], arrays["biases"]
        total += sum(x.size for x in arrays.values())
    return total


def _bytes(module: nn.Module) -> int:
    return sum(x.nbytes for layer in module.modules() for x in _arrays(layer).values())
