"""LoRA: the LLM's products get a small trainable product beside them; the weights themselves stay as they are."""

from dataclasses import dataclass

from ..model.nano import Nano

import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip

LAYERS = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")


@dataclass(frozen=True)
class LoRAConfig:
    """`rank` columns beside each of the LLM's projections (q, k, v and gate, up share theirs), times
    `scale`."""

    rank: int = 16
    scale: float = 2.0
    dropout: float = 0.0


class LoRALinear(nn.Module):
    """A linear layer plus `scale` · B · A, of which only A and B are trained."""

    def __init__(self, linear: nn.Module, columns: int, rows: int, config: LoRAConfig):
        super().__init__()
        self.linear = linear
        self.scale = config.scale
        self.dropout = nn.Dropout(config.dropout)
        self.lora_a = mx.random.uniform(-1, 1, (columns, config.rank)) * columns**-0.5
        self.lora_b = mx.zeros((config.rank, rows))

    def __call__(self, x: mx.array) -> mx.array:
        beside = (self.dropout(x) @ self.lora_a) @ self.lora_b
        return self.linear(x) + (self.scale * beside).astype(x.dtype)

    def merged(self) -> nn.Linear:
        """One plain layer that does the same."""
        weight = self.linear.weight.astype(mx.float32) + self.scale * (self.lora_a @ self.lora_b).T
        self.linear.weight = weight.astype(self.linear.weight.dtype)
        return self.linear


def add_lora(model: Nano, config: LoRAConfig) -> None:
    """Put LoRA beside every projection of the LLM, and freeze all else in it."""
    model.llm.freeze()
    for layer in model.llm.model.layers:
        for part, name in (path.split(".") for path in LAYERS):
            linear = layer[part][name]
            rows, columns = linear.weight.shape
            layer[part][name] = LoRALinear(linear, columns, rows, config)


def merge_lora(model: Nano) -> None:
    """Turn every LoRA layer into a plain one, so that the network is like any other."""
    for layer in model.llm.model.layers:
        for part, name in (path.split(".") for path in LAYERS):
            if isinstance(layer[part][name], LoRALinear):
                layer[part][name] = layer[part][name].merged()
