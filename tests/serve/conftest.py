"""Two servers that the tests share: an open one, and one that asks for a key and has low limits."""

import pytest
from places import PARITY
from serve.serving import COMMAND, LECTURE, NUMBER, Served

import nanoasr

KEY = "correct horse"


@pytest.fixture(scope="session")
def asr() -> nanoasr.Recognizer:
    """The bundled checkpoint: it has words of its own."""
    return nanoasr.load(dtype="float32")


@pytest.fixture(scope="session")
def texts(asr) -> dict:
    """What each recording says."""
    return {path: asr.transcribe(path).text for path in (NUMBER, COMMAND, LECTURE)}


@pytest.fixture(scope="session")
def served(asr):
    server = Served({"bundled": asr}, aliases=["whisper-1"])
    yield server
    server.close()


@pytest.fixture(scope="session")
def guarded():
    server = Served(
        {"tiny": nanoasr.load(PARITY / "official", dtype="float32")},
        api_key=KEY,
        cors=["https://page.example"],
        max_upload_mb=0.5,
        max_minutes=0.1,
    )
    yield server
    server.close()
