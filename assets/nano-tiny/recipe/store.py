"""Average the eighth run's weights with those it started from, and store them as the checkpoint that ships.

    python store.py START TRAINED OUT [--share 0.8]

Fine-tuned weights and those before lie close enough that a point between them is a good network too, often a better one
on what the start was better at. The LLM is stored in 4 bits, all other matrices in 6, which keeps the file below 25 MB.
OUT/average keeps the average in bfloat16, OUT/stored what ships.
"""

import argparse
import shutil
from pathlib import Path

import mlx.core as mx

import nanoasr
from nanoasr.checkpoint.quantize import Quantization


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path)
    parser.add_argument("trained", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.8, help="of the trained weights")
    args = parser.parse_args()
    average, stored = args.out / "average", args.out / "stored"
    shutil.copytree(args.trained, average, dirs_exist_ok=True)
    before, after = (mx.load(str(folder / "model.safetensors")) for folder in (args.start, args.trained))
    mixed = {name: (1 - args.share) * before[name].astype(mx.float32) + args.share * after[name] for name in after}
    weights = {name: value.astype(mx.bfloat16) for name, value in mixed.items()}
    mx.save_safetensors(str(average / "model.safetensors"), weights, {"format": "mlx"})
    nanoasr.convert(average, args.out / "llm", quantize=Quantization(4, parts=("llm",)), overwrite=True)
    nanoasr.convert(args.out / "llm", stored, quantize=Quantization(6), overwrite=True)
    shutil.rmtree(args.out / "llm")


if __name__ == "__main__":
    main()
