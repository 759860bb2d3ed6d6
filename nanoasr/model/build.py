"""Build the network that a config describes."""

import mlx.core as mx
import mlx.nn as nn

from .config import ModelConfig, ParaformerConfig, SenseVoiceConfig
from .nano import Nano
from .paraformer import Paraformer
from .seaco import SeacoParaformer
from .sensevoice import SenseVoice

AnyConfig = ModelConfig | SenseVoiceConfig | ParaformerConfig


def build(config: AnyConfig) -> nn.Module:
    """Build a network with random weights, which are not computed until they are used.

    Each layer draws its initial weights from MLX's random key. Evaluating the key frees what these draws leave in its
    graph, which would otherwise grow by 0.4 MB with each network.
    """
    if isinstance(config, SenseVoiceConfig):
        network = SenseVoice(config)
    elif isinstance(config, ParaformerConfig):
        network = SeacoParaformer(config) if config.seaco else Paraformer(config)
    else:
        network = Nano(config)
    mx.eval(mx.random.state)
    return network


def family(config: AnyConfig) -> str:
    """Return the name of the family that a config belongs to."""
    names = {SenseVoiceConfig: "sensevoice", ParaformerConfig: "paraformer"}
    return names.get(type(config), "nano")
