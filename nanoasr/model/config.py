"""The sizes of a network. The defaults are Fun-ASR-Nano's; every checkpoint layout is read into these."""

from dataclasses import dataclass, field
from typing import Literal

AudioTokens = Literal["low", "full"]


@dataclass(frozen=True)
class EncoderConfig:
    """SAN-M encoder: one block from the features, `num_blocks - 1` more, then `tp_blocks`."""

    input_size: int = 560
    output_size: int = 512
    attention_heads: int = 4
    linear_units: int = 2048
    num_blocks: int = 50
    tp_blocks: int = 20
    kernel_size: int = 11
    dropout: float = 0.0  # in training only, here and below


@dataclass(frozen=True)
class AdaptorConfig:
    """Stacks `downsample_rate` encoder frames, projects to `llm_dim`, then `n_layer` transformer blocks."""

    downsample_rate: int = 1
    encoder_dim: int = 512
    ffn_dim: int = 2048
    llm_dim: int = 1024
    n_layer: int = 2
    attention_heads: int = 8
    norm_eps: float = 1e-12
    dropout: float = 0.0


@dataclass(frozen=True)
class LLMConfig:
    """A Qwen3 decoder."""

    vocab_size: int = 151936
    hidden_size: int = 1024
    intermediate_size: int = 3072
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 128
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    tie_word_embeddings: bool = True
    dropout: float = 0.0


@dataclass(frozen=True)
class CTCConfig:
    """A transformer like the adaptor's over the encoder's output, and a linear layer to `vocab_size` ids."""

    decoder: AdaptorConfig = field(default_factory=lambda: AdaptorConfig(llm_dim=512, n_layer=5))
    vocab_size: int = 60515
    blank_id: int = 60514


@dataclass(frozen=True)
class ModelConfig:
    """A whole network; `ctc` is None where a checkpoint has no such branch.

    `audio_tokens`: whether the LLM is fed the first eighth of the adaptor's frames ("low", as the official
    checkpoint was trained) or all of them ("full").
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    ctc: CTCConfig | None = None
    audio_tokens: AudioTokens = "low"
