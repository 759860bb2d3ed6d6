"""Damaged files of every form that PyAV writes give samples or an error of ours, in bounded time and memory.

The cases run in a process of their own, so that a crash is a failed test. NANOASR_FUZZ=5000 runs that many.
`python tests/audio/test_audio_fuzz.py FIRST LAST` runs some by number, which is all that a case depends on.
"""

import collections
import functools
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from test_audio import encoded, tone

from nanoasr.audio import load_audio
from nanoasr.errors import NanoASRError

CASES = int(os.environ.get("NANOASR_FUZZ", "500"))
# muxer:codec[:rate]
FORMATS = """
wav:pcm_s16le wav:pcm_u8 wav:pcm_s24le wav:pcm_f32le wav:pcm_alaw wav:pcm_mulaw wav:adpcm_ima_wav wav:adpcm_ms
wav:adpcm_swf wav:adpcm_yamaha wav:libmp3lame w64:pcm_s16le aiff:pcm_s24be aiff:pcm_s16be caf:alac caf:pcm_s16be
au:pcm_mulaw au:pcm_s16be voc:pcm_u8 voc:pcm_s16le flac:flac tta:tta wv:wavpack mp3:libmp3lame mp2:mp2 adts:aac
latm:aac ac3:ac3 eac3:eac3 ogg:libopus:48000 matroska:libopus:48000 matroska:aac matroska:wavpack matroska:pcm_s16le
matroska:ac3 matroska:tta webm:libopus:48000 ipod:aac ipod:alac mp4:aac mp4:libmp3lame mp4:ac3 mov:pcm_s16be
mov:adpcm_ima_qt mov:pcm_alaw mov:alac 3gp:aac f4v:aac asf:wmav2 asf:wmav1 avi:libmp3lame avi:pcm_s16le avi:ac3
flv:aac flv:libmp3lame flv:nellymoser flv:adpcm_swf mpegts:aac mpegts:mp2 mpegts:ac3 mpegts:eac3
mpegts:libopus:48000 vob:mp2 vob:ac3 mpeg:mp2
""".split()
NUMBERS = [0, 1, 0x7F, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


@functools.cache
def whole(form: str) -> bytes:
    muxer, codec, *rate = form.split(":")
    rate = int(rate[0]) if rate else 44100
    return encoded((muxer, codec, rate, {}), tone(0.3, rate))


def damaged(number: int) -> bytes:
    """The file of one case."""
    chance = random.Random(number)
    data = bytearray(whole(FORMATS[number % len(FORMATS)]))
    for _ in range(chance.choice([1, 1, 2, 3])):
        start = chance.randrange(min(len(data), chance.choice([64, 1024, 1 << 30])) or 1)  # headers most
        length = chance.choice([1, 4, 64, 1024])
        kind = chance.randrange(9)
        if kind == 0:
            for _ in range(length):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[start : start + 4] = chance.choice(NUMBERS).to_bytes(4, chance.choice(["little", "big"]))
        elif kind == 2:
            data[start : start + length] = chance.randbytes(length)
        elif kind == 3:
            data[start : start + length] = bytes(length)
        elif kind == 4:
            del data[start : start + length]
        elif kind == 5:
            data[start:start] = data[start : start + length] * chance.choice([1, 50])
        elif kind == 6:
            del data[max(start, 1) :]
        elif kind == 7:
            data += whole(chance.choice(FORMATS))
        else:
            data[start:] = chance.randbytes(len(data) - start)
    return bytes(data)


def run_cases(first: int, last: int) -> dict:
    """Read the files of these cases; what came of them, for the test to judge."""
    outcomes, untyped, slowest = collections.Counter(), {}, (0.0, -1)
    for number in range(first, last):
        print(number, file=sys.stderr, flush=True)  # the last one, should the process die
        file = io.BytesIO() if number % 2 else tempfile.TemporaryFile()  # noqa: SIM115 (closed when it is replaced)
        file.write(damaged(number))
        start = time.process_time()
        try:
            audio = load_audio(file, max_seconds=60)
            outcomes["samples" if len(audio.samples) >= 400 else "too few samples"] += 1
        except NanoASRError as error:
            outcomes[type(error).__name__] += 1
        except Exception as error:
            untyped[number] = repr(error)
        slowest = max(slowest, (time.process_time() - start, number))
    return {"outcomes": dict(outcomes), "untyped": untyped, "slowest": slowest, "peak_mb": peak_megabytes()}


def peak_megabytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # a process inherits ru_maxrss from whoever started it
        return int(status.read_text().split("VmHWM:")[1].split()[0]) >> 10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def test_damaged_files_give_samples_or_an_error_of_ours_in_bounded_time_and_memory():
    root = Path(__file__).parents[2]
    places = [root, root / "tests", root / "tests" / "audio", os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, __file__, "0", str(CASES)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        timeout=120 + CASES,
    )
    case = done.stderr.strip().rpartition("\n")[2]
    assert done.returncode == 0, f"exit status {done.returncode} at case {case}"
    found = json.loads(done.stdout)
    print(found)
    assert found["untyped"] == {}
    assert found["slowest"][0] < 12, found["slowest"]
    assert found["peak_mb"] < 700
    assert sum(found["outcomes"].values()) == CASES
    assert found["outcomes"]["samples"] > CASES / 5 and found["outcomes"]["AudioFormatError"] > CASES / 20


@pytest.mark.parametrize("form", FORMATS)
def test_whole_files_of_all_these_forms_are_read(form):
    assert load_audio(whole(form)).duration == pytest.approx(0.3, abs=0.08)


if __name__ == "__main__":
    print(json.dumps(run_cases(int(sys.argv[1]), int(sys.argv[2]))))
