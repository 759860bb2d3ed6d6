"""The sizes of the networks. Defaults are those of the official checkpoints; every layout is read into these."""

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
    norm_eps: float = 1e-5
    tp_norm: bool = True  # False for Paraformer's encoder, which ends after `after_norm`
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


@dataclass(frozen=True)
class SenseVoiceConfig:
    """SenseVoiceSmall: query vectors, the encoder and a linear CTC layer to `vocab_size` ids."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    vocab_size: int = 25055
    blank_id: int = 0


@dataclass(frozen=True)
class PredictorConfig:
    """A CIF predictor: a convolution, then one weight a frame; see `cif.Predictor`."""

    idim: int = 512
    l_order: int = 1
    r_order: int = 1
    smooth_factor: float = 1.0
    noise_threshold: float = 0.0
    tail_threshold: float = 0.45


@dataclass(frozen=True)
class UpsampledConfig:
    """The second set of weights of a BiCif predictor, `upsample_times` a frame; see `bicif.UpsampledWeights`."""

    idim: int = 512
    upsample_times: int = 3
    smooth_factor2: float = 0.25
    noise_threshold2: float = 0.01


@dataclass(frozen=True)
class DecoderConfig:
    """Paraformer's decoder: `num_layers` with attention, `self_layers` without, then one feed-forward layer."""

    size: int = 512
    attention_heads: int = 4
    linear_units: int = 2048
    num_layers: int = 16
    self_layers: int = 0
    kernel_size: int = 11


@dataclass(frozen=True)
class SeacoConfig:
    """The hotword branch of SeACo-Paraformer; `no_bias_id` is what its output layer predicts without a hotword."""

    decoder: DecoderConfig = field(
        default_factory=lambda: DecoderConfig(linear_units=1024, num_layers=6, kernel_size=21)
    )
    lstm_layers: int = 2
    no_bias_id: int = 8377
    start_id: int = 1


@dataclass(frozen=True)
class ParaformerConfig:
    """Paraformer; `upsampled` is None without BiCif times, `seaco` without the hotword branch."""

    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(tp_blocks=0, tp_norm=False, norm_eps=1e-12))
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    upsampled: UpsampledConfig | None = None
    seaco: SeacoConfig | None = None
    vocab_size: int = 8404
