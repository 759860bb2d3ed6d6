"""Which recordings a command line names, and what the files of their transcripts are called."""

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

STDIN = "-"
_RECORDING = re.compile(
    r".*\.(3gp|aac|ac3|aiff?|amr|ape|au|avi|caf|flac|flv|m4[abv]|mk[av]|mov|mp[34]|mpe?g|og[agv]|opus|tta|voc|wav|web[am]"
    r"|wm[av]|wv)",
    re.IGNORECASE,
)


def is_recording(name: str) -> bool:
    """Return True if a file's name ends as those of recordings."""
    return bool(_RECORDING.fullmatch(name))


def find_recordings(arguments: Sequence[str], recursive: bool = False) -> tuple[list[str], list[str]]:
    """Find the recordings that files, folders and patterns name.

    Returns their paths, each once, and a message for each argument that names none.
    """
    found: dict[str, str] = {}
    problems = []
    for argument in arguments:
        try:
            paths = list(_named_by(argument, recursive))
        except OSError as error:
            problems.append(f"{argument}: cannot be read ({error.strerror})")
            continue
        if not paths:
            hint = "" if recursive else "; --recursive also searches its subfolders"
            is_folder = os.path.isdir(argument)
            problems.append(f"{argument}: " + (f"no recordings in it{hint}" if is_folder else "no file matches it"))
        for path in paths:
            found.setdefault(path if path == STDIN else os.path.abspath(path), path)
    return list(found.values()), problems


def _named_by(argument: str, recursive: bool) -> Iterator[str]:
    if argument == STDIN:
        yield argument
    elif os.path.isdir(argument):
        yield from _inside(argument, recursive)
    elif glob.has_magic(argument) and not os.path.lexists(argument):  # a quoted pattern
        for path in sorted(glob.glob(os.path.expanduser(argument), recursive=True)):
            yield from _inside(path, recursive) if os.path.isdir(path) else [path]
    else:
        yield argument


def _inside(folder: str, recursive: bool) -> Iterator[str]:
    entries = sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))
    paths = [os.path.join(folder, entry) for entry in entries]
    yield from (path for path in paths if is_recording(path) and os.path.isfile(path))
    if recursive:
        for path in paths:
            if os.path.isdir(path) and not os.path.islink(path):  # links may form a cycle
                yield from _inside(path, recursive)


def output_names(paths: Sequence[str]) -> dict[str, str]:
    """Choose a file name without suffix for the transcripts of each recording: the shortest that is unique.

    `a/x.wav` is x; beside `a/x.mp3` it is x.wav; beside `b/x.wav` it is a-x.
    """
    parts = {path: Path("stdin" if path == STDIN else os.path.abspath(path)).parts for path in paths}
    stems = Counter(_key("/".join(p[:-1] + (Path(p[-1]).stem,))) for p in parts.values())
    names, depth = {}, dict.fromkeys(paths, 0)
    for path, p in parts.items():
        stem = Path(p[-1]).stem
        names[path] = stem if stems[_key("/".join(p[:-1] + (stem,)))] == 1 else p[-1]
    leaves = names.copy()
    while True:
        same = {name for name, count in Counter(map(_key, names.values())).items() if count > 1}
        longer = [path for path in paths if _key(names[path]) in same and depth[path] < len(parts[path]) - 2]
        if not longer:
            break
        for path in longer:
            depth[path] += 1
            names[path] = "-".join((*parts[path][-1 - depth[path] : -1], leaves[path]))
    taken: Counter[str] = Counter()
    for path in paths:  # whole paths may still collide: /a-b/x and /a/b/x
        taken[_key(names[path])] += 1
        if taken[_key(names[path])] > 1:
            names[path] += f"-{taken[_key(names[path])]}"
    return names


def _key(name: str) -> str:
    """Map names that a file system may treat as the same to one key."""
    return unicodedata.normalize("NFC", name).casefold()
