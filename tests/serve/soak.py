"""Mixed load on a server process for some minutes: `python tests/serve/soak.py [MINUTES] [MODEL]` from the root.

Prints memory as it goes, and in the end answers, errors and latencies. Exit 1 if an answer was wrong, the server
died, or memory grew by more than a tenth after the first third.
"""

import asyncio
import json
import os
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from serve.conftest import KEY  # noqa: E402
from serve.serving import COMMAND, LECTURE, NUMBER, ROUTE, Process, Talker, multipart, post, request, speech_bytes  # noqa: E402
from serve.test_malformed import Malformed, websocket_frame  # noqa: E402

import nanoasr  # noqa: E402

AUTHORIZED = {"authorization": f"Bearer {KEY}"}
MANUAL = {"type": "transcription", "audio": {"input": {"turn_detection": None, "format": {"type": "audio/pcm"}}}}
GARBAGE = ("form", "truncated", "field", "audio", "path", "method", "key", "type", "raw")
COMPLETED = "conversation.item.input_audio_transcription.completed"


class Soak:
    """The clients, and what they saw."""

    def __init__(self, server: Process, seconds: float, texts: dict[Path, str], model: str):
        self.server, self.end, self.texts, self.model = server, time.monotonic() + seconds, texts, model
        self.server.socket_url = f"ws://127.0.0.1:{server.port}/v1/realtime"
        self.seen: Counter = Counter()
        self.wrong: list[str] = []
        self.latencies: list[float] = []

    def run(self) -> None:
        clients = [self.clip] * 3 + [self.stream, self.live, self.live, self.leave, self.garbage]
        threads = [threading.Thread(target=self.repeat, args=(client, i)) for i, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def repeat(self, client, seed: int) -> None:
        random_ = random.Random(seed)
        while time.monotonic() < self.end:
            began = time.monotonic()
            try:
                problem = client(random_)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            self.seen[client.__name__] += 1
            if client == self.clip:
                self.latencies.append(time.monotonic() - began)
            if problem:
                self.wrong.append(f"{client.__name__}: {problem}"[:300])
            time.sleep(random_.random() / 2 if client != self.leave else 1 + 2 * random_.random())

    def clip(self, random_: random.Random) -> str | None:
        path = random_.choice([NUMBER, COMMAND])
        form = random_.choice(["json", "verbose_json", "text"])
        status, answer = post(self.server, {"model": self.model, "response_format": form}, path, **AUTHORIZED)
        text = answer.decode().strip() if form == "text" else json.loads(answer).get("text")
        return None if (status, text) == (200, self.texts[path]) else f"{status} {answer[:200]!r}"

    def stream(self, random_: random.Random) -> str | None:
        status, answer = post(self.server, {"model": self.model, "stream": "true"}, LECTURE, **AUTHORIZED)
        events = [json.loads(line[6:]) for line in answer.decode().splitlines() if line.startswith("data: ")]
        text = "".join(event.get("delta", "") for event in events)
        return None if (status, text) == (200, self.texts[LECTURE]) else f"{status} {text!r}"

    def live(self, random_: random.Random) -> str | None:
        path = random_.choice([NUMBER, COMMAND])

        async def talk() -> str:
            headers = {"Authorization": f"Bearer {KEY}"}
            async with Talker(self.server, additional_headers=headers) as talker:
                await talker.send("session.update", session=MANUAL)
                for _ in range(random_.randrange(5)):
                    await talker.socket.send(websocket_frame(random_))
                await talker.send("input_audio_buffer.clear")
                await talker.send("session.update", session=MANUAL)  # whatever was set in between
                await talker.say(speech_bytes(path))
                if random_.random() < 0.2:
                    return self.texts[path]  # gone in the middle
                await talker.send("input_audio_buffer.commit")
                return (await talker.until(COMPLETED, timeout=300))["transcript"]

        said = asyncio.run(talk())
        return None if said == self.texts[path] else said

    def leave(self, random_: random.Random) -> None:
        body, kind = multipart({"model": self.model, "stream": random_.choice(["true", "false"])}, LECTURE.read_bytes())
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {kind}\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.sendall(
                f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: random_.randrange(len(body) * 2)]
            )
            time.sleep(random_.random())

    def garbage(self, random_: random.Random) -> str | None:
        malformed = Malformed(random_.randrange(10**9))
        if malformed.kind not in GARBAGE:
            return None
        status, answer, expected = malformed.send(self.server)
        return (
            None
            if status in expected | {404} and b'"error"' in answer
            else f"{malformed.kind} {status} {answer[:100]!r}"
        )

    def memory(self) -> float:
        text = request(self.server, "GET", "/metrics", **AUTHORIZED)[2].decode()
        return float(re.search(r"^nanoasr_resident_memory_bytes (\d+)", text, re.M)[1]) / 2**20


def main(minutes: float = 5, model: str | None = None) -> int:
    os.nice(19)
    asr = nanoasr.load(model)
    texts = {path: asr.transcribe(path).text for path in (NUMBER, COMMAND, LECTURE)}
    server = Process("--model", f"soak={model or 'bundled'}", "--max-minutes", "1", NANOASR_API_KEY=KEY)
    threading.Thread(target=lambda: [None for _ in server.process.stderr], daemon=True).start()
    soak = Soak(server, 60 * minutes, texts, "soak")
    worker, readings = threading.Thread(target=soak.run), []
    worker.start()
    while worker.is_alive():
        worker.join(10)
        readings.append(soak.memory())
        print(f"{10 * len(readings):4d} s  {readings[-1]:.0f} MiB  {dict(soak.seen)}", flush=True)
    later = readings[len(readings) // 3 :]
    growth = max(later[len(later) // 2 :]) / max(later[: len(later) // 2 or 1]) - 1
    latencies = sorted(soak.latencies) or [0.0]
    print(f"clips: p50 {latencies[len(latencies) // 2]:.2f} s, p95 {latencies[int(len(latencies) * 0.95)]:.2f} s")
    print(f"memory: {readings[0]:.0f} to {readings[-1]:.0f} MiB, grown by {growth:.1%} after the first third")
    print(f"wrong: {len(soak.wrong)} {soak.wrong[:5]}")
    alive = server.process.poll() is None
    server.process.terminate()
    server.process.wait(15)
    return 0 if alive and not soak.wrong and growth < 0.1 else 1


if __name__ == "__main__":
    sys.exit(main(*(kind(text) for kind, text in zip((float, str), sys.argv[1:], strict=False))))
