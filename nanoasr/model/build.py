"""A config -> its network, with random weights."""

import mlx.nn as nn

from .config import ModelConfig, ParaformerConfig, SenseVoiceConfig
from .nano import Nano
from .paraformer import Paraformer
from .seaco import SeacoParaformer
from .sensevoice import SenseVoice

AnyConfig = ModelConfig | SenseVoiceConfig | ParaformerConfig


def build(config: AnyConfig) -> nn.Module:
    """Make the network that a config describes; its arrays are not computed until they are used."""
    if isinstance(config, SenseVoiceConfig):
        return SenseVoice(config)
    if isinstance(config, ParaformerConfig):
        return SeacoParaformer(config) if config.seaco else Paraformer(config)
    return Nano(config)


def family(config: AnyConfig) -> str:
    """The name of the family that a config belongs to."""
    names = {SenseVoiceConfig: "sensevoice", ParaformerConfig: "paraformer"}
    return names.get(type(config), "nano")
