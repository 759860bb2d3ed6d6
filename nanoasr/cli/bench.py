"""`nanoasr bench`: measure how long each stage takes."""

import argparse
import sys
from pathlib import Path

from .arguments import add_model, count, counts, durations, positive


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "bench",
        help="how long each stage takes, also beside other packages",
        description="Time every stage of the network and whole transcriptions: medians, ranges, peak memory.",
        epilog="""examples:
  %(prog)s --model nano --seconds 5,10,15 --batch 1,8,32
  %(prog)s --random --against mlx-audio --json bench.json --plot bench.html
  %(prog)s --random --draft 0.9 --against transformers
  %(prog)s --live --random --against mlx-audio
  %(prog)s --model ./SenseVoiceSmall --batch 1 --against funasr

Work of more than 10 s is not warmed up, and nothing is repeated for more than a minute. A nano model's texts have
exactly --tokens tokens: end tokens and loop detection are off. --draft concerns its transcriptions; with a number the
CTC branch runs, but what it writes is replaced by the decoder's own text with random errors.""",
    )
    parser.set_defaults(run=run)
    add_model(parser)
    add = parser.add_argument
    add("--random", action="store_true", help="the full-size network with random weights; needs no checkpoint")
    add("--live", action="store_true", help="time an update of a live session: half a second more of --seconds")
    add("--seconds", type=durations, default=(10.0,), metavar="S,…", help="length of a recording (default 10)")
    add("--batch", type=counts, default=(1, 8), metavar="N,…", help="batch sizes (default 1,8)")
    add("--tokens", type=count, metavar="N", help="tokens per text (default 60, with --live 40)")
    add("--draft", type=_draft, metavar="D", help="none (default), auto, or how likely a drafted token is right: 0.9")
    add("--repeats", type=count, default=7, metavar="N", help="repetitions of each measurement (default 7)")
    add("--recordings", type=count, metavar="N", help="recordings in the throughput test (default 64, on a CPU 4)")
    add(
        "--against",
        choices=("mlx-audio", "transformers", "funasr"),
        help="measure this package too, with the same weights",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    add("--plot", type=Path, metavar="FILE.html", help="write a chart to FILE.html")


def _draft(text: str) -> str | float | None:
    if text in ("none", "auto"):
        return None if text == "none" else text
    right = positive(text)
    if right > 1:
        raise argparse.ArgumentTypeError(f"{text}: none, auto, or a probability of at most 1")
    return right


def run(args: argparse.Namespace) -> int:
    """Measure, and print the report."""
    from ..bench import Plan, Subject, bench, bench_live

    tokens = args.tokens or (40 if args.live else 60)
    plan = Plan(args.seconds, args.batch, tokens, args.repeats, args.recordings, args.against, args.draft)
    subject = Subject(args.model, args.random, args.quantize, args.dtype)
    for path in filter(None, (args.json, args.plot)):
        path.touch()  # fail now rather than after all the work
    shown = sys.stderr is not None and sys.stderr.isatty()
    measure = bench_live if args.live else bench
    report = measure(plan, subject, (lambda line: print(line, file=sys.stderr)) if shown else (lambda line: None))
    print(report)
    if args.json:
        args.json.write_text(report.to_json(), encoding="utf-8")
    if args.plot:
        report.plot(args.plot)
    return 0
