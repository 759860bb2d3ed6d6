"""Where the bundled checkpoint and the sample recordings are."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def assets_folder() -> Path:
    """Return the folder `assets`: inside the installed package, or beside the package in a clone."""
    installed = _PACKAGE / "assets"
    return installed if installed.is_dir() else _PACKAGE.parent / "assets"
