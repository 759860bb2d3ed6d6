"""What README.md tells people to type works, and what it points at is there."""

import itertools
import json
import re
import shlex
import shutil
import subprocess
import types
from pathlib import Path

import pytest
import yaml
from serve.serving import Process
from ui.running import App

from nanoasr import cli
from nanoasr.cli.parser import make_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (ROOT / "assets" / "nano-tiny" / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / "README.md",
    *sorted(page for top in ("assets", "nanoasr", "tests") for page in ROOT.glob(f"{top}/**/*.md")),
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SERVED_AT, API_AT = "http://127.0.0.1:7860", "http://127.0.0.1:8000"


def blocks(*kinds: str) -> list[str]:
    """The fenced blocks of these kinds."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [code for kind, code in found if kind in kinds]


def commands() -> list[list[str]]:
    """Every command of the blocks for a shell."""
    lines = [line for code in blocks("sh", "bash", "shell") for line in code.replace("\\\n", " ").splitlines()]
    parts = [part for line in lines for part in line.partition("#")[0].split("&&")]
    return [shlex.split(part) for part in dict.fromkeys(part.strip() for part in parts) if part]


def mentioned() -> list[list[str]]:
    """The commands that stand in the text, such as `python app.py --model FOLDER`."""
    spans = re.findall(r"`(python (?:app\.py|-m nanoasr)[^`\n]*)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    return [shlex.split(span) for span in dict.fromkeys(spans) if "COMMAND" not in span and "…" not in span]


def broken_links(text: str, folder: Path) -> list[str]:
    """The links and pictures of a Markdown text in `folder` that lead to nothing in this repository."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        inside = (folder / path).resolve().is_relative_to(ROOT)
        if re.match(r"(https?|mailto):", link):
            continue
        if not (inside and (folder / path).exists() if path else anchor in anchors):
            broken.append(link)
    return broken


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The working folder, with what a clone has in it; what a command writes beside that is forgotten."""
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """`python app.py`, running."""
    app = App(tmp_path_factory.mktemp("readme"))
    yield app
    app.close()


@pytest.fixture(scope="module")
def api():
    """`nanoasr serve`, running."""
    server = Process()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[-1].strip()[:50])
def test_python_in_the_readme_runs(code, clone, request, capsys):
    if SERVED_AT in code:
        code = code.replace(SERVED_AT, request.getfixturevalue("app").url)
    if API_AT in code:
        code = code.replace(API_AT, request.getfixturevalue("api"))
    exec(compile(code, "README.md", "exec"), types.ModuleType("readme").__dict__)
    assert capsys.readouterr().out.strip() or "print(" not in code


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_a_command_in_the_readme_works(command, clone, request, capsys):
    if command[:2] == ["pip", "install"]:
        assert all((ROOT / name).is_file() for flag, name in itertools.pairwise(command) if flag == "-r")
    elif command == ["python", "app.py"]:
        assert request.getfixturevalue("app").process.poll() is None
    elif command[0] == "curl":
        line = [part.replace(API_AT, request.getfixturevalue("api")) for part in command]
        said = subprocess.run([*line, "-s", "--fail-with-body"], capture_output=True, text=True, check=True).stdout
        assert said.count('"text": "') + said.count('"text":"') > 0
    elif command == ["python", "-m", "nanoasr", "serve"]:
        assert request.getfixturevalue("api")
    elif command[:3] == ["python", "-m", "nanoasr"]:
        if command[3] == "train":
            shorten_training(clone, command[4])
        try:
            status = cli.main(command[3:])
        except SystemExit as end:
            status = end.code
        assert not status, capsys.readouterr().err
    else:
        assert command == ["pytest"], f"no test knows this command: {command}"


def shorten_training(clone: Path, config: str) -> None:
    """Two steps are enough to see that it runs, in a copy of the folder."""
    (clone / "assets").unlink()
    shutil.copytree(ROOT / "assets", clone / "assets", ignore=shutil.ignore_patterns("screenshots", "*.png"))
    settings = yaml.safe_load((clone / config).read_text(encoding="utf-8"))
    settings["optimizer"] |= {"steps": 2, "warmup": 1}
    (clone / config).write_text(yaml.safe_dump(settings), encoding="utf-8")


@pytest.mark.parametrize("command", mentioned(), ids=" ".join)
def test_a_command_in_the_text_takes_these_arguments(command):
    # one may be named by its first words only, such as `python app.py --model`
    arguments = ["app", *command[2:]] if command[1] == "app.py" else command[3:]
    make_parser().parse_args(arguments + ["x"] * (command[-1] == "--model"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(page):
    assert not broken_links(page.read_text(encoding="utf-8"), page.parent)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_somewhere(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert not broken_links(text, notebook.parent)


@pytest.mark.parametrize(
    "link",
    [
        "[x](nowhere.md)",
        "![x](assets/none.png)",
        '<img src="none.png">',
        "[x](#no-heading)",
        "[x](../outside)",
        "[x](/etc)",
    ],
)
def test_a_link_to_nothing_would_be_noticed(link):
    assert broken_links(f"# A heading\n{link} and [this](#a-heading) and [that](README.md)", ROOT)
    assert not broken_links("# A heading\n[this](#a-heading), [that](README.md), [else](https://example.org)", ROOT)


def test_the_table_of_flags_is_that_of_the_app(capsys):
    table = README.split("| flag |")[1].split("\n\n")[0]
    listed = re.findall(r"`(--[\w-]+)", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    with pytest.raises(SystemExit):
        make_parser().parse_args(["app", "--help"])
    known = re.findall(r"^  (?:-h, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(["--help", *listed]) == sorted(known)


def test_every_notebook_stands_in_the_table():
    assert re.findall(r"\]\((notebooks/.*?)\) \|", README) == [f"notebooks/{path.name}" for path in NOTEBOOKS]


def test_the_tree_lists_every_package_and_root_module_and_nothing_else():
    (tree,) = (code for code in blocks("") if "nanoasr/" in code)
    listed = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    present = {path.name for path in (ROOT / "nanoasr").iterdir() if not path.name.startswith("_")}
    assert listed == present - {"assets"}


def test_accuracy_is_what_the_card_says():
    def rows(text: str) -> list[list[str]]:
        return [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]

    said = rows("|" + README.split("## Accuracy")[1].split("\n| set |")[1].split("\n\n")[0])
    measured = rows("|" + CARD.split("| set | recordings |")[1].split("\n\n")[0])
    same = [[name, words, llm, *others] for name, _, words, llm, _, _, *others in measured]
    assert len(said) == 7 and said == same, "README.md: copy the figures of assets/nano-tiny/README.md"
