"""Throughput and latency over HTTP by number of clients: `python tests/serve/throughput.py [MODEL|random] [N,N,…]`.

Every client sends recordings of 10 s, one after the other; `random` is the full-size network with random weights,
whose texts are 60 drawn tokens. Clients run in a process of their own.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

REQUESTS, SECONDS, TOKENS = 6, 10.0, 60  # of each client in a round; of each recording; in each text
ROUNDS = 4
FIELDS = {"model": "m", "temperature": "1", "max_tokens": str(TOKENS), "response_format": "json"}


def ask(port: int, body: bytes, kind: str, times: list[float]) -> None:
    """One client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    for i in range(REQUESTS):
        began = time.perf_counter()
        connection.request("POST", "/v1/audio/transcriptions", body, {"Content-Type": kind})
        response = connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        if i or REQUESTS == 1:
            times.append(time.perf_counter() - began)


def run_clients(port: int, count: int, body: bytes, kind: str) -> None:
    """All clients at once -> one line of JSON."""
    times: list[float] = []
    threads = [threading.Thread(target=ask, args=(port, body, kind, times)) for _ in range(count)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    times.sort()
    print(json.dumps({"wall": wall, "p50": times[len(times) // 2], "p95": times[int(0.95 * len(times))]}))


def main(model: str = "random", clients: str = "1,8,32") -> None:
    """Serve, and print a line for each number of clients."""
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    import io

    import soundfile
    from serve.serving import Served, multipart

    import nanoasr
    from nanoasr.bench.subject import Subject, synthetic_speech

    if model == "random":
        asr = Subject(random=True).recognizer()
    else:
        asr = nanoasr.load(None if model == "bundled" else model)
    file = io.BytesIO()
    soundfile.write(file, synthetic_speech(SECONDS), 16000, format="WAV", subtype="PCM_16")
    body, kind = multipart(FIELDS, file.getvalue())
    path = Path("/tmp") / f"throughput-{time.time_ns()}"
    path.write_bytes(body)
    served = Served({"m": asr})
    print(f"{asr.info().device}, {model}, {SECONDS:g} s of audio a request, {TOKENS} tokens")
    first = 0.0
    for count in map(int, clients.split(",")):
        for round_ in range(ROUNDS):  # in the first ones a GPU compiles kernels
            command = [sys.executable, __file__, "client", str(served.port), str(count), str(path), kind]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rate = count * REQUESTS / found["wall"]
            print(
                f"{count:3d} clients, round {round_}: {rate:6.2f} requests/s ({rate / (first or rate):.2f} x), "
                f"{rate * SECONDS:7.1f} x real time, p50 {found['p50']:.3f} s, p95 {found['p95']:.3f} s",
                flush=True,
            )
        first = first or rate
    path.unlink()
    served.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        _, _, port, count, path, kind = sys.argv
        run_clients(int(port), int(count), Path(path).read_bytes(), kind)
    else:
        main(*sys.argv[1:])
