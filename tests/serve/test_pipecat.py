"""Pipecat's speech-to-text services with `base_url` set to this server; skipped without `pipecat-ai[openai]`."""

import asyncio
import re
import time

import pytest
from places import HERE
from serve.serving import NUMBER, speech_bytes

pipecat = pytest.importorskip("pipecat")
from pipecat.frames.frames import (  # noqa: E402
    ErrorFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.services.openai.stt import OpenAIRealtimeSTTService, OpenAISTTService  # noqa: E402
from pipecat.tests.utils import SleepFrame, run_test  # noqa: E402

RATE = 16000


@pytest.fixture(scope="module")
def text(asr) -> str:
    """What is said, in Pipecat's default language."""
    return asr.transcribe(NUMBER, language="en").text


def frames(*pieces: object) -> list[InputAudioRawFrame]:
    content = speech_bytes(*pieces, rate=RATE)
    return [InputAudioRawFrame(content[i : i + 640], RATE, 1) for i in range(0, len(content), 640)]


class Turn:
    """A service that notes when it has a transcription."""

    done = False

    async def push_frame(self, frame, *direction):
        self.done = self.done or isinstance(frame, TranscriptionFrame)
        await super().push_frame(frame, *direction)


class Recording(Turn, OpenAISTTService):
    pass


class Live(Turn, OpenAIRealtimeSTTService):
    pass


def heard(service: Turn, to_send: list) -> tuple[list[str], str]:
    """The final texts and the interim ones, joined."""

    def frames_until_done():
        yield from to_send
        end = time.monotonic() + 60
        while not service.done and time.monotonic() < end:
            yield SleepFrame(0.2)

    down, up = asyncio.run(run_test(service, frames_to_send=frames_until_done(), start_timeout=20))
    assert not [frame for frame in up if isinstance(frame, ErrorFrame)]
    interim = "".join(frame.text for frame in down if isinstance(frame, InterimTranscriptionFrame))
    return [frame.text for frame in down if isinstance(frame, TranscriptionFrame)], interim


def test_the_transcription_service_hears_a_turn(served, text):
    service = Recording(
        api_key="none",
        base_url=f"{served.url}/v1",
        settings=OpenAISTTService.Settings(model="bundled", prompt="lamp, light"),
        sample_rate=RATE,
        include_prob_metrics=True,
    )
    turn = [VADUserStartedSpeakingFrame(), SleepFrame(0.2), *frames(NUMBER), SleepFrame(0.5)]
    assert heard(service, [*turn, VADUserStoppedSpeakingFrame()])[0] == [text]


@pytest.mark.parametrize("server_vad", [True, False])
def test_the_realtime_service_hears_a_turn_while_it_is_spoken(served, text, server_vad):
    service = Live(
        api_key="none",
        base_url=served.socket_url,
        settings=OpenAIRealtimeSTTService.Settings(model="bundled"),
        turn_detection={"type": "server_vad", "silence_duration_ms": 900} if server_vad else False,
        sample_rate=RATE,
    )
    commit = [] if server_vad else [VADUserStartedSpeakingFrame(), VADUserStoppedSpeakingFrame()]
    assert heard(service, [SleepFrame(1), *frames(NUMBER, 1.5), SleepFrame(1), *commit]) == ([text], text)


def test_the_service_of_the_readme_can_be_made(served):
    readme = (HERE.parent / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```py\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    names = {}
    exec(code, names)
    assert isinstance(names["stt"], OpenAIRealtimeSTTService)
