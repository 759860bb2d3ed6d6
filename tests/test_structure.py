"""The package keeps its layers: no import cycles, imports that point one way, short modules, few at the root."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nanoasr"
LAYERS = (  # a package or root module imports from its own layer and those before it
    ("backend", "errors", "resources", "typed"),
    ("audio", "model", "results"),
    ("checkpoint", "decode"),
    ("families", "speakers"),
    ("scheduler", "pipeline"),
    ("recognizer", "live", "introspection", "plots"),
    ("train", "bench", "serve", "cluster", "ui"),
    ("cli",),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def modules() -> dict[str, Path]:
    """Every module's file by its full name."""
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


MODULES = modules()


def imports_of(name: str) -> set[str]:
    """The modules of this package that a module imports anywhere, under TYPE_CHECKING and in functions included."""
    path, found = MODULES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            origin = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*origin, *([node.module] if node.module else [])])
            for alias in node.names:
                found.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {other for other in found if other in MODULES and other != name}


IMPORTS = {name: imports_of(name) for name in MODULES if name not in ("nanoasr", "nanoasr.__main__")}


def test_no_modules_import_each_other_in_a_cycle():
    waiting = {name: others & IMPORTS.keys() for name, others in IMPORTS.items()}
    while free := {name for name, others in waiting.items() if not others}:
        waiting = {name: others - free for name, others in waiting.items() if name not in free}
    assert not waiting, "these, or what they import, form a cycle"


@pytest.mark.parametrize("name", IMPORTS)
def test_a_module_imports_from_its_own_layer_and_lower_ones_only(name):
    own = LAYER_OF[name.split(".")[1]]
    upward = {other for other in IMPORTS[name] - {"nanoasr"} if LAYER_OF[other.split(".")[1]] > own}
    assert not upward


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_at_most_350_lines(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 350


def test_at_most_twelve_modules_stand_at_the_root():
    assert len(list(PACKAGE.glob("*.py"))) <= 12
