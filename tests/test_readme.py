"""What README.md tells people to type works, and what it points at is there."""

import contextlib
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import nanoasr
from nanoasr import cli
from nanoasr.arguments import make_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = [code for kind, code in BLOCKS if kind == "python"]
COMMANDS = [
    shlex.split(part, comments=True)
    for kind, code in BLOCKS
    if kind in ("sh", "bash", "shell")
    for line in code.replace("\\\n", " ").splitlines()
    for part in line.partition("#")[0].split("&&")
    if part.strip()
]
FILES = re.compile(r"""["']([\w-]+\.(?:wav|mp3|m4a|webm|flac|ogg))["']""")
# What needs a hub, a microphone, a server that stays or a training run: only its arguments are looked at.
NOT_RUN = {"bench", "train", "stream", "live", "serve"}


def needs_more_than_this_machine(command: list[str]) -> bool:
    """A hub id or preset as the checkpoint, or a command that does not end soon."""
    places = [word for word in command if re.fullmatch(r"[\w.-]+/[\w.-]+", word) and not (ROOT / word).exists()]
    return bool(places or {"--model", "--mic"} & set(command) or command[3] in NOT_RUN)


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.split("\n")[0][:40])
def test_python_in_the_readme_runs(code, tmp_path, monkeypatch):
    for name in FILES.findall(code):
        shutil.copy(ROOT / "assets" / "speech" / "jfk.flac", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    compile(code, "README.md", "exec")
    if "gradio_client" in code:
        return  # the API is called for real in tests/ui
    load = nanoasr.load
    # there is no hub here: a hub id stands for the bundled checkpoint
    monkeypatch.setattr(
        nanoasr, "load", lambda source=None, **more: load(source if os.path.isdir(source or "") else None)
    )
    exec(compile(code, "README.md", "exec"), types.ModuleType("readme").__dict__)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_in_the_readme_works(command, tmp_path, monkeypatch, capsys):
    if command[:2] == ["pip", "install"]:
        for flag, name in itertools.pairwise(command):
            assert flag != "-r" or (ROOT / name).is_file()
    elif command[:3] == ["python", "-m", "nanoasr"]:
        if needs_more_than_this_machine(command):
            with contextlib.suppress(SystemExit):
                make_parser().parse_args(command[3:])
            assert "error:" not in capsys.readouterr().err
        else:
            (tmp_path / "assets").symlink_to(ROOT / "assets")
            monkeypatch.chdir(tmp_path)
            try:
                status = cli.main(command[3:])
            except SystemExit as end:
                status = end.code
            assert not status, capsys.readouterr().err
    elif command[:2] == ["python", "app.py"]:
        done = subprocess.run([sys.executable, *command[1:], "--help"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        flags = [word for word in command if word.startswith("--")]
        assert all(flag in done.stdout for flag in flags)
    elif command[:2] == ["python", "notebooks/build.py"]:
        assert all((ROOT / "notebooks" / f"{name}.ipynb").is_file() for name in command[2:])
    else:
        assert command[0] in ("pytest", "git", "cd", "ruff"), f"README.md names a command that no test knows: {command}"


def test_links_and_pictures_in_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)\s]+)\)", README) + re.findall(r'(?:src|href)="([^"]+)"', README)
    headings = {
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    for link in links:
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, heading = link.partition("#")
        assert not path or (ROOT / path).exists(), link
        assert path or heading in headings, link


def test_flags_of_the_app_that_the_readme_names_exist():
    named = re.search(r"^Flags: (.*?)\. ", README.replace("\n", " "), re.MULTILINE)
    flags = set(re.findall(r"`(--[\w-]+)", named[1])) if named else set()
    flags |= {word for command in COMMANDS if "app.py" in command for word in command if word.startswith("--")}
    text = (ROOT / "app.py").read_text(encoding="utf-8")
    assert all(f'"{flag}"' in text for flag in flags)
