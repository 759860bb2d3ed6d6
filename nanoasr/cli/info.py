"""`nanoasr info`: print the device, its speed, versions, and what a checkpoint holds."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

from .. import __version__, backend
from ..checkpoint.sources import BUNDLED, PRESETS
from .arguments import MODEL_HELP
from .console import printable_line

_PACKAGES = (
    "mlx mlx-metal mlx-cpu mlx-cuda-12 mlx-cuda-13 mkl numpy av soxr librosa tokenizers huggingface_hub gradio"
).split()


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "info",
        help="device, versions, and what a checkpoint holds",
        description="Print the device, its measured speed, package versions, and what a checkpoint holds.",
        epilog="example:\n  %(prog)s --model nano",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--model", help=f"{MODEL_HELP} (default: the bundled checkpoint)")


def run(args: argparse.Namespace) -> int:
    """Print everything, one fact a line."""
    print(f"nanoasr     {__version__}, Python {sys.version.split()[0]}, {_versions(_PACKAGES)}")
    if args.model is None and not BUNDLED.is_dir():
        print(f"checkpoint  this copy has no bundled one; use --model ({', '.join(PRESETS)}, or a folder)")
        print(f"device      {backend.device_name()}")
        if backend.blas_warning():
            print(f"note        {backend.blas_warning()}")
    else:
        from ..recognizer import load

        print(load(args.model).info())
    by = f", by {printable_line(backend.blas_path)}" if backend.on_cpu and backend.blas_path else ""
    print(f"speed       {backend.measure_gflops():.0f} GFLOP/s in float32 matrix products{by}")
    return 0


def _versions(packages: Sequence[str]) -> str:
    found = []
    for name in packages:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
