"""Many recordings -> their transcripts, printed or in files: what `nanoasr transcribe` does."""

import glob
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..errors import NanoASRError
from ..results.transcript import FORMATS, Timings, Transcript, write_all

if TYPE_CHECKING:
    from ..recognizer import Recognizer

STDIN = "-"
_RECORDING = re.compile(
    r".*\.(3gp|aac|ac3|aiff?|amr|ape|au|avi|caf|flac|flv|m4[abv]|mk[av]|mov|mp[34]|mpe?g|og[agv]|opus|tta|voc|wav|web[am]"
    r"|wm[av]|wv)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Output:
    """Where transcripts go: into `folder`, or to standard output, which takes one format."""

    formats: tuple[str, ...] = ("txt",)
    folder: Path | None = None
    verbose: bool = False

    def has(self, name: str) -> bool:
        """Whether every file of this name is there."""
        return self.folder is not None and all((self.folder / f"{name}.{form}").is_file() for form in self.formats)


def find_recordings(arguments: Sequence[str], recursive: bool = False) -> tuple[list[str], list[str]]:
    """Files, folders and patterns -> the recordings that they name, each once, and a line for each that names none."""
    found: dict[str, str] = {}
    problems = []
    for argument in arguments:
        try:
            paths = list(_named_by(argument, recursive))
        except OSError as error:
            problems.append(f"{argument}: cannot be looked into ({error.strerror})")
            continue
        if not paths:
            deeper = "" if recursive else "; --recursive looks into its folders too"
            is_folder = os.path.isdir(argument)
            problems.append(f"{argument}: " + (f"no recordings in it{deeper}" if is_folder else "no file matches it"))
        for path in paths:
            found.setdefault(path if path == STDIN else os.path.abspath(path), path)
    return list(found.values()), problems


def _named_by(argument: str, recursive: bool) -> Iterator[str]:
    if argument == STDIN:
        yield argument
    elif os.path.isdir(argument):
        yield from _inside(argument, recursive)
    elif glob.has_magic(argument) and not os.path.lexists(argument):  # a shell would have replaced it
        for path in sorted(glob.glob(os.path.expanduser(argument), recursive=True)):
            yield from _inside(path, recursive) if os.path.isdir(path) else [path]
    else:
        yield argument


def _inside(folder: str, recursive: bool) -> Iterator[str]:
    entries = sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))
    paths = [os.path.join(folder, entry) for entry in entries]
    yield from (path for path in paths if _RECORDING.fullmatch(path) and os.path.isfile(path))
    if recursive:
        for path in paths:
            if os.path.isdir(path) and not os.path.islink(path):  # links may lead round in a circle
                yield from _inside(path, recursive)


def output_names(paths: Sequence[str]) -> dict[str, str]:
    """The name of each recording's files, without format: its own, made longer only where two would be the same.

    `a/x.wav` is x; beside `a/x.mp3` it is x.wav; beside `b/x.wav` it is a-x.
    """
    parts = {path: Path("stdin" if path == STDIN else os.path.abspath(path)).parts for path in paths}
    stems = Counter(_alike("/".join(p[:-1] + (Path(p[-1]).stem,))) for p in parts.values())
    names, depth = {}, dict.fromkeys(paths, 0)
    for path, p in parts.items():
        bare = Path(p[-1]).stem
        names[path] = bare if stems[_alike("/".join(p[:-1] + (bare,)))] == 1 else p[-1]
    leaves = names.copy()
    while True:
        same = {name for name, count in Counter(map(_alike, names.values())).items() if count > 1}
        longer = [path for path in paths if _alike(names[path]) in same and depth[path] < len(parts[path]) - 2]
        if not longer:
            break
        for path in longer:
            depth[path] += 1
            names[path] = "-".join((*parts[path][-1 - depth[path] : -1], leaves[path]))
    taken: Counter[str] = Counter()
    for path in paths:  # what even whole paths do not tell apart: a-b/x and a/b/x at the root
        taken[_alike(names[path])] += 1
        if taken[_alike(names[path])] > 1:
            names[path] += f"-{taken[_alike(names[path])]}"
    return names


def _alike(name: str) -> str:
    """What a file system may take for the same name."""
    return unicodedata.normalize("NFC", name).casefold()


def transcribe_files(
    asr: "Recognizer", paths: Sequence[str], output: Output, names: dict[str, str], options: dict
) -> int:
    """Transcribe `paths` (with `options` of `Recognizer.transcribe_batch`) and deliver each result as it comes.

    -> how many failed; each is told on stderr.
    """
    failed, spent = 0, Timings()
    sources = [sys.stdin.buffer if path == STDIN else path for path in paths]
    with _Progress(paths) as progress:
        results = asr.transcribe_batch(sources, on_progress=progress.inside, **options)
        for path, result in zip(paths, results, strict=True):
            progress.finished(path, result)
            if isinstance(result, Transcript):
                result = replace(result, name=readable(result.name))
                problem = _deliver(result, output, names[path], several=len(paths) > 1)
                spent += result.timings
                if output.verbose:
                    _report(path, result)
            else:
                problem = str(result).removeprefix(f"{Path(path).name}: ").removeprefix("<stdin>: ")
            if problem:
                failed += 1
                complain(f"{path}: {problem}")
    if output.verbose and len(paths) > 1:
        print(f"\nall {len(paths)} recordings\n{spent}", file=sys.stderr)
    return failed


def complain(message: str) -> None:
    """One line on stderr."""
    with tqdm.external_write_mode(file=sys.stderr):
        print(f"nanoasr: {_harmless(message)}", file=sys.stderr, flush=True)


def _harmless(text: str) -> str:
    """One line in which nothing can move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(readable(text).split()))


def readable(text: str) -> str:
    """A file's name in the UTF-8 that it is mostly in, even where Python was told to expect something else."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _deliver(transcript: Transcript, output: Output, name: str, several: bool) -> str | None:
    """Write or print a transcript; what went wrong comes back."""
    if output.folder:
        try:
            write_all(transcript, output.folder, name, output.formats)
        except OSError as error:
            return f"its transcript cannot be written ({error.strerror or error})"
        return None
    [form] = output.formats
    # several JSON documents that follow each other are one a line, as JSON readers expect
    text = transcript.to_json(indent=None) if form == "json" and several else FORMATS[form](transcript)
    with tqdm.external_write_mode(file=sys.stdout):
        print(text, end="", flush=True)
    return None


def _report(path: str, transcript: Transcript) -> None:
    with tqdm.external_write_mode(file=sys.stderr):
        print(f"\n{_harmless(path)}\n{transcript.timings}", file=sys.stderr)
    for segment in transcript.segments:
        if segment.repetition_stopped:
            complain(f"note: {path}: the segment at {segment.start:.1f} s repeated itself and was cut short")
        if segment.truncated:
            complain(f"note: {path}: the segment at {segment.start:.1f} s has more to say than --max-tokens allows")


class _Progress:
    """A bar over the seconds of all recordings, and the time left; on a terminal only."""

    def __init__(self, paths: Sequence[str]):
        shown = sys.stderr is not None and sys.stderr.isatty()
        self.lengths = {path: _header_seconds(path) if shown else 0.0 for path in paths}
        self.count, self.files, self.done = 0, len(paths), 0.0
        form = "{desc} {percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s, {elapsed} gone, {remaining} left"
        total = max(1.0, sum(self.lengths.values()))
        self.bar = tqdm(total=total, desc=self._count(), bar_format=form, disable=not shown, leave=False)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def inside(self, seconds: float) -> None:
        """The recording that is next to be finished, or a later one, is done up to here."""
        self._move(min(self.done + seconds, self.bar.total))

    def finished(self, path: str, result: Transcript | NanoASRError) -> None:
        """What a header said of a length gives way to what was found."""
        found = result.duration if isinstance(result, Transcript) else 0.0
        self.bar.total = max(1.0, self.bar.total + found - self.lengths[path])
        self.count, self.done = self.count + 1, self.done + found
        self._move(self.done)
        self.bar.set_description_str(self._count())

    def _move(self, seconds: float) -> None:
        self.bar.update(max(0.0, seconds - self.bar.n))

    def _count(self) -> str:
        return f"{self.count}/{self.files} recordings"


def _header_seconds(path: str) -> float:
    """How long a file says it is; 0 where it does not say, or must not be opened twice, as a pipe."""
    import av

    from ..audio.files import CONTAINERS

    if path == STDIN or not os.path.isfile(path):
        return 0.0
    limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    try:
        with open(path, "rb") as file, av.open(file, "r", container_options=limits) as container:
            return max(0.0, (container.duration or 0) / av.time_base)
    except Exception:  # whatever is wrong with it is told when it is its turn
        return 0.0
