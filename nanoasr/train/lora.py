"""LoRA: trainable low-rank additions to the LLM's projections."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from ..model.nano import Nano

LAYERS = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")


@dataclass(frozen=True)
class LoRAConfig:
    """Rank and scale of the additions to the LLM's projections; q, k, v share one, and so do gate and up."""

    rank: int = 16
    scale: float = 2.0
    dropout: float = 0.0


class LoRALinear(nn.Module):
    """A linear layer plus `scale` · B · A; only A and B are trained."""

    def __init__(self, linear: nn.Module, columns: int, rows: int, config: LoRAConfig):
        super().__init__()
        self.linear = linear
        self.scale = config.scale
        self.dropout = nn.Dropout(config.dropout)
        self.lora_a = mx.random.uniform(-1, 1, (columns, config.rank)) * columns**-0.5
        self.lora_b = mx.zeros((config.rank, rows))

    def __call__(self, x: mx.array) -> mx.array:
        delta = (self.dropout(x) @ self.lora_a) @ self.lora_b
        return self.linear(x) + (self.scale * delta).astype(x.dtype)

    def merged(self) -> nn.Linear:
        """Return an equivalent plain layer."""
        weight = self.linear.weight.astype(mx.float32) + self.scale * (self.lora_a @ self.lora_b).T
        self.linear.weight = weight.astype(self.linear.weight.dtype)
        return self.linear


def add_lora(model: Nano, config: LoRAConfig) -> None:
    """Add LoRA to every projection of the LLM and freeze the rest of it."""
    model.llm.freeze()
    for layer in model.llm.model.layers:
        for part, name in (path.split(".") for path in LAYERS):
            linear = layer[part][name]
            rows, columns = linear.weight.shape
            layer[part][name] = LoRALinear(linear, columns, rows, config)


def merge_lora(model: Nano) -> None:
    """Replace every LoRA layer by an equivalent plain one."""
    for layer in model.llm.model.layers:
        for part, name in (path.split(".") for path in LAYERS):
            if isinstance(layer[part][name], LoRALinear):
                layer[part][name] = layer[part][name].merged()
