"""The network that a training run starts from."""

from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from ..checkpoint.layouts import Layout
from ..checkpoint.load import DTYPES, load_checkpoint
from ..checkpoint.tokenizer import Tokenizer
from ..errors import OptionError
from ..model.config import ModelConfig
from ..model.nano import Nano
from .config import DropoutConfig, TrainConfig
from .lora import add_lora
from .manifest import Utterance
from .memory import use_fast_memory
from .tokenizer import make_tokenizer


@dataclass(frozen=True)
class Start:
    """A network with its frozen parts frozen, and its tokenizer and CMVN; `origin` has their files."""

    model: Nano
    tokenizer: Tokenizer
    cmvn: mx.array | None
    origin: Layout


def start_network(config: TrainConfig, utterances: list[Utterance]) -> Start:
    """Load the checkpoint to start from, or initialize a new network from the seed."""
    mx.random.seed(config.seed)
    cmvn = None
    if config.init:
        checkpoint = load_checkpoint(config.init, dtype=config.dtype)
        model, tokenizer, cmvn, origin = checkpoint.model, checkpoint.tokenizer, checkpoint.cmvn, checkpoint.layout
        expand_quantized(model)
    else:
        tokenizer = _tokenizer(config, utterances)
        model = Nano(fit_together(config.model, tokenizer.size))
        origin = Layout("mlx-audio", Path(config.out), model.config, tokenizer.path.parent)
    use_fast_memory(model.audio_encoder)
    add_dropout(model, config.dropout)
    if config.lora:
        model.freeze()
        add_lora(model, config.lora)
    freeze(model, config.freeze)
    if model.config.ctc is not None and model.config.ctc.vocab_size != tokenizer.size + 1:
        freeze(model, ("ctc.", "ctc_decoder."))  # its ids belong to another tokenizer
    model.train()
    origin = replace(origin, languages=config.languages or origin.languages, card=config.card or origin.card)
    return Start(model, tokenizer, cmvn, origin)


def expand_quantized(model: Nano) -> None:
    """Replace quantized layers, which cannot be trained, by plain ones; on a CPU they are plain already."""
    plain = []
    for name, module in model.named_modules():
        if isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
            weight = mx.dequantize(
                module.weight, module.scales, module.biases, group_size=module.group_size, bits=module.bits
            )
            layer = nn.Linear(1, 1, bias=False) if isinstance(module, nn.QuantizedLinear) else nn.Embedding(1, 1)
            layer.weight = weight
            if "bias" in module:
                layer.bias = module.bias
            plain.append((name, layer))
    model.update_modules(tree_unflatten(plain))


def fit_together(config: ModelConfig, vocabulary: int) -> ModelConfig:
    """Set the sizes that follow from others: the parts' interfaces and the vocabulary."""
    encoded, embedded = config.encoder.output_size, config.llm.hidden_size
    ctc = config.ctc
    if ctc is not None:
        decoder = replace(ctc.decoder, encoder_dim=encoded)
        ctc = replace(ctc, decoder=decoder, vocab_size=vocabulary + 1, blank_id=vocabulary)
    return replace(
        config,
        adaptor=replace(config.adaptor, encoder_dim=encoded, llm_dim=embedded),
        llm=replace(config.llm, vocab_size=vocabulary),
        ctc=ctc,
    )


def add_dropout(model: Nano, config: DropoutConfig) -> None:
    """Set the dropout rate of every block by part; the CTC branch has the encoder's."""
    for name, module in model.named_modules():
        if "dropout" in module:
            part = name.split(".")[0]
            rate = {"llm": config.llm, "audio_adaptor": config.adaptor}.get(part, config.encoder)
            module.dropout = nn.Dropout(rate)


def freeze(model: Nano, prefixes: tuple[str, ...]) -> None:
    """Freeze every tensor whose name starts with one of the prefixes; OptionError for a prefix that matches none."""
    used = set()
    for name, module in model.named_modules():
        own = [key for key in module if isinstance(module[key], mx.array)]
        for key in own:
            matching = [b for b in prefixes if f"{name}.{key}".removeprefix(".").startswith(b)]
            if matching:
                used.update(matching)
                module.freeze(keys=[key], recurse=False)
    unused = [b for b in prefixes if b not in used]
    if unused:
        raise OptionError(f"freeze: no tensor's name starts with {', '.join(unused)}")


def _tokenizer(config: TrainConfig, utterances: list[Utterance]) -> Tokenizer:
    if isinstance(config.tokenizer, str):
        return Tokenizer(Path(config.tokenizer))
    folder = Path(config.out) / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        make_tokenizer((u.text for u in utterances), config.tokenizer, folder)
    return Tokenizer(folder)


def compute_type(config: TrainConfig, on_cpu: bool) -> mx.Dtype:
    """Return the compute dtype."""
    return DTYPES[config.dtype or ("float32" if on_cpu else "bfloat16")]
