"""Measure diarization on made-up conversations, single speakers and the AMI excerpts of pyannote.audio's tests.

    python assets/speaker/recipe/evaluate.py SPEECH [--ami tests/data] [--seed 0] [--write FOLDER] [--found FOLDER]

SPEECH holds kokoro.zip, digits.zip and the readings. With --write each recording becomes a .wav, beside a .speech file
with the spans that nanoasr's voice activity detector finds, for other programs; with --found the turns come from their
.rttm files instead of nanoasr.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from conversations import Conversation, Voices, conversations, single_speakers

from nanoasr.audio import SAMPLE_RATE, load_audio
from nanoasr.audio.vad import find_segments
from nanoasr.speakers import DiarizationError, diarization_error, diarize, load_speaker_model, read_rttm
from nanoasr.speakers.diarizer import VAD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--ami", type=Path, help="the folder tests/data of pyannote.audio's source package")
    parser.add_argument("--model", help="a folder with another speaker model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--found", type=Path)
    arguments = parser.parse_args()
    model = load_speaker_model(arguments.model)
    voices = Voices(arguments.speech)
    sets = {
        "conversations": conversations(voices, arguments.seed),
        "single speakers": single_speakers(voices, arguments.seed),
    }
    if arguments.ami:
        sets["AMI"] = ami(arguments.ami)
    for title, recordings in sets.items():
        total, rates, right, began = DiarizationError(), [], 0, time.process_time()
        for i, recording in enumerate(recordings):
            key = f"{title.split()[0]}-{i:02}"
            if arguments.write:
                write(arguments.write, key, recording)
                continue
            if arguments.found:
                found = read_rttm(arguments.found / f"{key}.rttm").get(key, [])
            else:
                found = diarize(recording.samples, model=model)
            error, count = diarization_error(recording.turns, found), len({turn.speaker for turn in found})
            total += error
            rates.append(error.rate)
            right += count == recording.speakers
            print(
                f"{key:18} {error.rate:6.1%}  missed {error.missed:5.1f} s, false alarm {error.false_alarm:5.1f} s, "
                f"confusion {error.confusion:5.1f} s of {error.speech:5.1f} s; "
                f"{count} speakers for {recording.speakers}; {recording.name}",
                flush=True,
            )
        if not arguments.write:
            seconds = time.process_time() - began
            length = sum(len(recording.samples) for recording in recordings) / SAMPLE_RATE
            print(
                f"{title}: {total.rate:.1%} of all speech, {np.mean(rates):.1%} on average; number of speakers right "
                f"in {right} of {len(recordings)}; {seconds:.1f} s of processor time for {length:.0f} s\n"
            )


def ami(folder: Path) -> list[Conversation]:
    """The excerpts of 30 s, with their references."""
    found = []
    for part in ("train", "development", "test"):
        for name, turns in sorted(read_rttm(folder / f"debug.{part}.rttm").items()):
            path = next(
                path for path in folder.glob("*.wav") if path.stem[-2:] == name[-2:] and path.stem[:2] == name[:2]
            )
            found.append(Conversation(path.stem, load_audio(path).samples, turns))
    return found


def write(folder: Path, key: str, recording: Conversation) -> None:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{key}.wav", recording.samples, SAMPLE_RATE)
    spans = find_segments(recording.samples, VAD)
    lines = [f"{span.start / SAMPLE_RATE:.3f} {span.end / SAMPLE_RATE:.3f}\n" for span in spans]
    (folder / f"{key}.speech").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
