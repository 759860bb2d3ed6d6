"""Runs the command line for tests, with a small random network and a recording that it writes some text of."""

import functools
import os
import sys
from pathlib import Path

import numpy as np
import soundfile
from places import PARITY

import nanoasr
from nanoasr import cli

MODEL = ("--model", str(PARITY / "official"))
SHORT = (*MODEL, "--max-tokens", "16")
EXPECTED = np.load(PARITY / "expected.npz")
COMMAND = (sys.executable, "-m", "nanoasr")
_PLACES = (str(Path(nanoasr.__file__).parents[1]), os.environ.get("PYTHONPATH"))
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, _PLACES))}


def run(*arguments: object) -> int:
    """The exit status of a command, in this process."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code


def transcribe(*arguments: object) -> int:
    return run("transcribe", *SHORT, *arguments)


def complaints(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def write_speech() -> Path:
    """Into the working folder."""
    soundfile.write("speech.wav", EXPECTED["audio"], 16000, subtype="FLOAT")
    return Path("speech.wav")


@functools.cache
def transcript() -> nanoasr.Transcript:
    """Of that recording, by the Python interface."""
    asr = nanoasr.load(PARITY / "official")
    return asr.transcribe(EXPECTED["audio"], sampling=nanoasr.Sampling(max_tokens=16))
