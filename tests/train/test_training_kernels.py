"""Training's kernels, against the operations that they stand in for. They need an NVIDIA GPU."""

import mlx.core as mx
import numpy as np
import pytest
from nearness import differs

from nanoasr import backend
from nanoasr.train import kernels
from nanoasr.train.loss import _IMPOSSIBLE, _frame_by_frame, ctc_loss
from nanoasr.train.memory import _shifted_sums, depthwise

on_cuda = pytest.mark.skipif(not backend.on_cuda, reason="no NVIDIA GPU")


@on_cuda
@pytest.mark.parametrize(("rows", "frames", "states"), [(6, 40, 21), (3, 7, 1), (2, 90, 1301)])
def test_the_recursion_is_the_same_in_one_kernel(rows, frames, states):
    rng = np.random.default_rng(states)
    emissions = mx.array(np.log(rng.dirichlet(np.ones(states), (rows, frames))).astype(np.float32))
    may_skip = mx.array(rng.random((rows, states)) < 0.4)
    ours = kernels.forward_variables(emissions, may_skip, _IMPOSSIBLE)
    theirs = _frame_by_frame(emissions, may_skip)
    reached = theirs > _IMPOSSIBLE / 2
    assert mx.array_equal(ours > _IMPOSSIBLE / 2, reached).item()
    assert differs(mx.where(reached, ours, 0), mx.where(reached, theirs, 0)) < 1e-5


@on_cuda
def test_losses_and_gradients_are_the_same(monkeypatch):
    logits = mx.random.normal((4, 60, 30), key=mx.random.key(0))
    targets = mx.random.randint(0, 29, (4, 12), key=mx.random.key(1))
    lengths = mx.array([60, 41, 30, 5]), mx.array([12, 9, 0, 12])  # the last does not fit its frames

    def losses(logits):
        each = ctc_loss(logits - mx.logsumexp(logits, axis=-1, keepdims=True), targets, *lengths, blank=29)
        return mx.where(mx.isfinite(each), each, 0).sum()

    ours = mx.value_and_grad(losses)(logits)
    mx.eval(ours)
    monkeypatch.setattr(backend, "on_cuda", False)
    theirs = mx.value_and_grad(losses)(logits)
    assert differs(ours[0], theirs[0]) < 1e-5
    assert differs(ours[1], theirs[1]) < 1e-3  # of logarithms near -200, whose last bits differ


@on_cuda
@pytest.mark.parametrize(("dtype", "most"), [(mx.float32, 1e-5), (mx.bfloat16, 0.02)])
def test_the_memory_is_the_same_and_so_is_its_gradient(dtype, most, monkeypatch):
    v, kernel = (
        mx.random.normal(shape, key=mx.random.key(shape[0])).astype(dtype) for shape in ((3, 50, 40), (11, 40))
    )
    weights = mx.random.normal(v.shape, key=mx.random.key(5)).astype(dtype)
    assert differs(kernels.correlate(v, kernel), _shifted_sums(v, kernel)) < most
    gradient = mx.grad(lambda v, kernel: (depthwise(v, kernel) * weights).sum(), argnums=(0, 1))
    ours = gradient(v, kernel)
    mx.eval(ours)
    monkeypatch.setattr(backend, "on_cuda", False)
    for a, b in zip(ours, gradient(v, kernel), strict=True):
        assert differs(a, b) < most
