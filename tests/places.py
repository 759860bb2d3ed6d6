"""Where the tests' own data lie."""

from pathlib import Path

HERE = Path(__file__).parent
PARITY = HERE / "parity"
SPEECH = HERE / "data" / "speech"
