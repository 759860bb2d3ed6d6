"""CAM++ (FunASR's `CAMPPlus`): a small residual network over time and frequency, then densely connected
time-delay layers with context-aware masking, then mean and deviation over time."""

import re
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

_BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and their dilation
_HEAD_CHANNELS = 32
_POOLED_FRAMES = 100


@dataclass(frozen=True)
class CAMPPlusConfig:
    """Sizes, by FunASR's names."""

    feat_dim: int = 80
    embedding_size: int = 192
    growth_rate: int = 32
    bn_size: int = 4
    init_channels: int = 128

    @classmethod
    def of(cls, shapes: dict[str, tuple[int, ...]]) -> "CAMPPlusConfig":
        """Read the sizes from a checkpoint's tensors; KeyError or ValueError where they are not CAM++'s."""
        init_channels, inputs, _ = shapes["xvector.tdnn.linear.weight"]
        growth_rate, bn_channels, _ = shapes["xvector.block1.tdnnd1.cam_layer.linear_local.weight"]
        embedding_size = shapes["xvector.dense.linear.weight"][0]
        feat_dim = 8 * (inputs // _HEAD_CHANNELS)
        return cls(feat_dim, embedding_size, growth_rate, bn_channels // max(growth_rate, 1), init_channels)


class CAMPPlus(nn.Module):
    """Filterbank frames [B, T, feat_dim] -> embeddings [B, embedding_size], not normalized."""

    def __init__(self, config: CAMPPlusConfig):
        super().__init__()
        self.head = Head()
        self.xvector = XVector(config)

    def __call__(self, frames: mx.array) -> mx.array:
        return self.xvector(self.head(frames))

    @staticmethod
    def parameters_from(tensors: dict[str, mx.array]) -> dict[str, mx.array]:
        """FunASR's tensors under this network's names, kernels with their channels last."""
        found = {}
        for name, value in tensors.items():
            if name.endswith("num_batches_tracked"):
                continue
            name = re.sub(r"nonlinear(\d?)\.batchnorm", r"norm\1", name).replace("shortcut.0", "shortcut.conv")
            name = name.replace("shortcut.1", "shortcut.norm")
            found[name] = mx.moveaxis(value, 1, -1) if value.ndim > 2 else value
        return found


class Head(nn.Module):
    """Two-dimensional convolutions that halve the frequencies three times: [B, T, F] -> [B, T, 32 · F / 8]."""

    def __init__(self, channels: int = _HEAD_CHANNELS):
        super().__init__()
        self.conv1 = _conv2d(1, channels)
        self.bn1 = nn.BatchNorm(channels)
        self.layer1 = [Residual(channels, 2), Residual(channels, 1)]
        self.layer2 = [Residual(channels, 2), Residual(channels, 1)]
        self.conv2 = _conv2d(channels, channels, stride=2)
        self.bn2 = nn.BatchNorm(channels)

    def __call__(self, frames: mx.array) -> mx.array:
        x = frames.swapaxes(1, 2)[..., None]  # [B, F, T, 1]
        x = nn.relu(self.bn1(self.conv1(x)))
        for block in self.layer1 + self.layer2:
            x = block(x)
        x = nn.relu(self.bn2(self.conv2(x)))
        batch, frequencies, time, channels = x.shape
        return x.transpose(0, 2, 3, 1).reshape(batch, time, channels * frequencies)


class Residual(nn.Module):
    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv1 = _conv2d(channels, channels, stride=stride)
        self.bn1 = nn.BatchNorm(channels)
        self.conv2 = _conv2d(channels, channels)
        self.bn2 = nn.BatchNorm(channels)
        if stride != 1:
            self.shortcut = Shortcut(channels, stride)

    def __call__(self, x: mx.array) -> mx.array:
        y = nn.relu(self.bn1(self.conv1(x)))
        return nn.relu(self.bn2(self.conv2(y)) + (self.shortcut(x) if "shortcut" in self else x))


class Shortcut(nn.Module):
    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.conv = _conv2d(channels, channels, size=1, stride=stride)
        self.norm = nn.BatchNorm(channels)

    def __call__(self, x: mx.array) -> mx.array:
        return self.norm(self.conv(x))


class XVector(nn.Module):
    """Frames [B, T, channels] -> one vector each."""

    def __init__(self, config: CAMPPlusConfig):
        super().__init__()
        channels = config.init_channels
        self.tdnn = TDNN(_HEAD_CHANNELS * (config.feat_dim // 8), channels)
        for i, (layers, dilation) in enumerate(_BLOCKS, 1):
            self[f"block{i}"] = DenseBlock(layers, channels, dilation, config)
            channels += layers * config.growth_rate
            self[f"transit{i}"] = Transit(channels, channels // 2)
            channels //= 2
        self.out_norm = nn.BatchNorm(channels)
        self.dense = Dense(2 * channels, config.embedding_size)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.tdnn(x)
        for i in range(1, len(_BLOCKS) + 1):
            x = self[f"transit{i}"](self[f"block{i}"](x))
        x = nn.relu(self.out_norm(x))
        deviation = mx.sqrt(x.var(axis=1, ddof=1))
        return self.dense(mx.concatenate([x.mean(axis=1), deviation], axis=-1))


class TDNN(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm(outputs)

    def __call__(self, x: mx.array) -> mx.array:
        return nn.relu(self.norm(self.linear(x)))


class DenseBlock(nn.Module):
    """Layers that each add `growth_rate` channels, made of all channels before them."""

    def __init__(self, layers: int, channels: int, dilation: int, config: CAMPPlusConfig):
        super().__init__()
        self.layers = layers
        for i in range(layers):
            self[f"tdnnd{i + 1}"] = DenseLayer(channels + i * config.growth_rate, dilation, config)

    def __call__(self, x: mx.array) -> mx.array:
        for i in range(self.layers):
            x = mx.concatenate([x, self[f"tdnnd{i + 1}"](x)], axis=-1)
        return x


class DenseLayer(nn.Module):
    def __init__(self, channels: int, dilation: int, config: CAMPPlusConfig):
        super().__init__()
        inner = config.bn_size * config.growth_rate
        self.norm1 = nn.BatchNorm(channels)
        self.linear1 = _pointwise(channels, inner, bias=False)
        self.norm2 = nn.BatchNorm(inner)
        self.cam_layer = ContextMask(inner, config.growth_rate, dilation)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.linear1(nn.relu(self.norm1(x)))
        return self.cam_layer(nn.relu(self.norm2(x)))


class ContextMask(nn.Module):
    """A convolution whose channels are weighed by what the whole recording and the second around are like."""

    def __init__(self, inputs: int, outputs: int, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = _pointwise(inputs, inputs // 2)
        self.linear2 = _pointwise(inputs // 2, outputs)

    def __call__(self, x: mx.array) -> mx.array:
        context = x.mean(axis=1, keepdims=True) + _pooled(x)
        return self.linear_local(x) * mx.sigmoid(self.linear2(nn.relu(self.linear1(context))))


class Transit(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm = nn.BatchNorm(inputs)
        self.linear = _pointwise(inputs, outputs, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear(nn.relu(self.norm(x)))


class Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = _pointwise(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm(outputs, affine=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.norm(self.linear(x[:, None])[:, 0])


def _pooled(x: mx.array) -> mx.array:
    """Average each stretch of 100 frames, [B, T or 1, C]; the last stretch may be shorter."""
    frames = x.shape[1]
    if frames <= _POOLED_FRAMES:
        return x.mean(axis=1, keepdims=True)
    parts = mx.split(x, range(_POOLED_FRAMES, frames, _POOLED_FRAMES), axis=1)
    return mx.concatenate([mx.broadcast_to(part.mean(axis=1, keepdims=True), part.shape) for part in parts], axis=1)


def _conv2d(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=(stride, 1), padding=size // 2, bias=False)


def _pointwise(inputs: int, outputs: int, bias: bool = True) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, 1, bias=bias)
