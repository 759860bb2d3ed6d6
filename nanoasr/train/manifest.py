"""Manifests: JSON lines of recordings and their texts, in our format and the two that FunASR fine-tunes from.

    {"audio": "a.wav", "text": "hello", "language": "en", "hotwords": ["MLX"], "itn": true, "speaker": "ann"}
    {"audio": "shard.npy#480000:32000", "text": "hello"}         32,000 int16 samples at 16 kHz from 480,000 on
    {"messages": [{"role": "user", "content": "语音转写：<|startofspeech|>!a.wav<|endofspeech|>"},
                  {"role": "assistant", "content": "hello"}]}
    {"source": "a.wav", "target": "hello"}

Paths are relative to the manifest. Only `audio` and `text` are needed; the text of silence is "".
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import OptionError

_CHAT_AUDIO = re.compile(r"^(?P<prompt>.*?)<\|startofspeech\|>!(?P<audio>.*?)<\|endofspeech\|>$", re.DOTALL)
_CHAT_LANGUAGE = re.compile(r"语音转写成(?P<language>\w+?)(?=[：，:,]|$)")
_SHARD = re.compile(r"^(?P<path>.*\.npy)#(?P<offset>\d+):(?P<length>\d+)$")


@dataclass(frozen=True)
class Utterance:
    """One line of a manifest. `offset` and `length` count samples if `audio` is a shard; otherwise 0 and None."""

    audio: Path
    text: str
    offset: int = 0
    length: int | None = None
    language: str | None = None
    hotwords: tuple[str, ...] = ()
    itn: bool = True
    speaker: str | None = None


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read a JSONL manifest; OptionError names the first bad line."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise OptionError(f"{path}: the manifest cannot be read ({error.strerror})") from None
    utterances = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                utterances.append(_read_line(json.loads(line), path.parent))
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                what = f"no {error}" if isinstance(error, KeyError) else error
                raise OptionError(f"{path}:{number}: not a training example: {what}") from None
    if not utterances:
        raise OptionError(f"{path}: the manifest has no lines")
    return utterances


def _read_line(line: dict, folder: Path) -> Utterance:
    if "messages" in line:
        return _read_chat(line["messages"], folder)
    if "source" in line:
        return _locate(str(line["source"]), Utterance(folder, str(line["target"])), folder)
    utterance = Utterance(
        folder,
        text=str(line["text"]),
        language=line.get("language"),
        hotwords=tuple(str(word) for word in line.get("hotwords") or ()),
        itn=bool(line.get("itn", True)),
        speaker=line.get("speaker"),
    )
    return _locate(str(line["audio"]), utterance, folder)


def _read_chat(messages: list[dict], folder: Path) -> Utterance:
    contents = {message["role"]: message["content"] for message in messages}
    match = _CHAT_AUDIO.match(contents["user"].strip())
    if match is None:
        raise ValueError("the user's message does not end in <|startofspeech|>!PATH<|endofspeech|>")
    prompt = match["prompt"]
    language = _CHAT_LANGUAGE.search(prompt)
    utterance = Utterance(
        folder,
        text=contents["assistant"],
        language=language["language"] if language else None,
        itn="不进行文本规整" not in prompt and "without text normalization" not in prompt,
    )
    return _locate(match["audio"], utterance, folder)


def _locate(audio: str, utterance: Utterance, folder: Path) -> Utterance:
    if re.match(r"^\w+://", audio):
        raise ValueError(f"{audio} is a URL: download it and name the file")
    if match := _SHARD.match(audio):
        offset, length = int(match["offset"]), int(match["length"])
        return replace(utterance, audio=folder / match["path"], offset=offset, length=length)
    return replace(utterance, audio=folder / audio)
