"""Deepen a checkpoint: add encoder blocks and layers of the CTC branch that change nothing at first.

    python grow.py CHECKPOINT OUT [--blocks 6] [--ctc-layers 1]

The new blocks are spread evenly over the encoder. A block adds its outputs to its input, so a new one starts with
output projections of zero, and with a memory that cancels the values it passes on; training gives them a use. The
result is a checkpoint in bfloat16, `init` of the next run.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.model.nano import Nano
from nanoasr.train.export import export
from nanoasr.train.network import expand_quantized


def deepen(model: Nano, blocks: int, ctc_layers: int) -> Nano:
    """Return a network with the same outputs and `blocks` and `ctc_layers` more layers."""
    config = model.config
    encoder = replace(config.encoder, num_blocks=config.encoder.num_blocks + blocks)
    decoder = replace(config.ctc.decoder, n_layer=config.ctc.decoder.n_layer + ctc_layers)
    grown = Nano(replace(config, encoder=encoder, ctc=replace(config.ctc, decoder=decoder)))
    for part in ("audio_adaptor", "llm", "ctc"):
        grown[part].update(model[part].parameters())
    for name in ("encoders0", "after_norm", "tp_encoders", "tp_norm"):
        for new, old in zip(_listed(grown.audio_encoder[name]), _listed(model.audio_encoder[name]), strict=True):
            new.update(old.parameters())
    for name in ("linear1", "linear2"):
        grown.ctc_decoder[name].update(model.ctc_decoder[name].parameters())
    _spread(model.audio_encoder.encoders, grown.audio_encoder.encoders)
    _spread(model.ctc_decoder.blocks, grown.ctc_decoder.blocks)
    return grown


def _listed(modules):
    return modules if isinstance(modules, list) else [modules]


def _spread(old: list, new: list) -> None:
    """Copy the old blocks into the new list in order, evenly spread, and silence the others."""
    places = [(2 * k + 1) * len(new) // (2 * len(old)) for k in range(len(old))]
    for place, block in zip(places, old, strict=True):
        new[place].update(block.parameters())
    for place in set(range(len(new))) - set(places):
        block = new[place]
        for layer in (block.self_attn.linear_out, block.feed_forward.w_2):
            layer.weight, layer.bias = mx.zeros_like(layer.weight), mx.zeros_like(layer.bias)
        if "fsmn_block" in block.self_attn:
            memory = block.self_attn.fsmn_block
            taps = mx.arange(memory.weight.shape[1])[None, :, None]
            memory.weight = mx.where(taps == memory.weight.shape[1] // 2, -1.0, mx.zeros_like(memory.weight))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--ctc-layers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    mx.random.seed(args.seed)
    checkpoint = load_checkpoint(str(args.checkpoint), dtype="float32")
    expand_quantized(checkpoint.model)
    model = deepen(checkpoint.model, args.blocks, args.ctc_layers)
    export(model, checkpoint.layout, args.out)
    size = sum(value.size for _, value in tree_flatten(model.parameters()))
    print(f"{args.out}: {size / 1e6:.2f} M weights")


if __name__ == "__main__":
    main()
