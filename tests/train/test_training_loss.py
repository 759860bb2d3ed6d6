"""CTC against PyTorch's numbers, cross entropy against its definition."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from nanoasr.train.loss import ctc_loss, text_loss


@pytest.fixture(scope="module")
def torch_case():
    """Twelve random cases with torch's losses and its gradient for the logits: empty targets, repeated
    labels, targets that just fit, and two that cannot fit (rows 4 and 7)."""
    return dict(np.load(Path(__file__).parent / "data" / "ctc_torch.npz"))


def ctc_of_logits(case, logits):
    log_probs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    lengths = (mx.array(case[k]) for k in ("input_lengths", "target_lengths"))
    return ctc_loss(log_probs, mx.array(case["targets"]), *lengths, blank=case["logits"].shape[-1] - 1)


def weighted_finite(case, logits):
    loss = ctc_of_logits(case, logits)
    return mx.where(mx.isfinite(loss), loss, 0) @ mx.array(case["weights"])


def test_ctc_losses_are_those_of_torch(torch_case):
    loss = np.array(ctc_of_logits(torch_case, mx.array(torch_case["logits"])))
    np.testing.assert_allclose(loss, torch_case["loss"], rtol=1e-5)
    assert np.isinf(loss).sum() == 2


def test_ctc_gradients_are_those_of_torch_and_zero_where_a_target_cannot_fit(torch_case):
    gradient = mx.grad(lambda x: weighted_finite(torch_case, x))(mx.array(torch_case["logits"]))
    np.testing.assert_allclose(np.array(gradient), torch_case["gradient"], atol=2e-5)


def test_ctc_in_a_compiled_step_gives_the_same_gradient(torch_case):
    short = torch_case["input_lengths"] <= 10  # a GPU takes minutes to compile the steps of many frames
    torch_case = {name: values[short] for name, values in torch_case.items()}
    torch_case |= {name: torch_case[name][:, :10] for name in ("logits", "gradient")}
    step = mx.compile(mx.value_and_grad(lambda x: weighted_finite(torch_case, x)))
    loss, gradient = step(mx.array(torch_case["logits"]))
    finite = np.isfinite(torch_case["loss"])
    assert float(loss) == pytest.approx(torch_case["loss"][finite] @ torch_case["weights"][finite], rel=1e-5)
    np.testing.assert_allclose(np.array(gradient), torch_case["gradient"], atol=2e-5)


def test_ctc_does_not_see_what_lies_after_the_lengths(torch_case):
    changed = dict(torch_case, targets=torch_case["targets"].copy())
    logits = torch_case["logits"].copy()
    for row, (frames, labels) in enumerate(zip(changed["input_lengths"], changed["target_lengths"], strict=True)):
        logits[row, frames:] = 7.0
        changed["targets"][row, labels:] = 5
    np.testing.assert_allclose(ctc_of_logits(changed, mx.array(logits)), torch_case["loss"], rtol=1e-5)


def test_ctc_of_a_certain_path_is_zero_even_with_minus_infinity_elsewhere():
    log_probs = mx.full((1, 3, 3), -mx.inf)
    for frame, label in enumerate((0, 2, 0)):
        log_probs[0, frame, label] = 0.0
    loss = ctc_loss(log_probs, mx.array([[0, 0]]), mx.array([3]), mx.array([2]), blank=2)
    assert float(loss[0]) == pytest.approx(0.0, abs=1e-6)


def test_text_loss_is_the_mean_over_counted_tokens_only():
    logits = mx.random.normal((2, 3, 5), key=mx.random.key(1))
    targets, lengths = mx.array([[1, 2, 0], [4, 0, 0]]), mx.array([2, 1])
    log_probs = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    expected = -(log_probs[0, 0, 1] + log_probs[0, 1, 2] + log_probs[1, 0, 4]) / 3
    assert float(text_loss(logits, targets, lengths)) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_mixes_in_the_uniform_distribution():
    logits = mx.random.normal((1, 2, 4), key=mx.random.key(2))
    targets, lengths = mx.array([[3, 1]]), mx.array([2])
    log_probs = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))[0]
    expected = -np.mean([0.9 * log_probs[i, t] + 0.1 * log_probs[i].mean() for i, t in enumerate((3, 1))])
    assert float(text_loss(logits, targets, lengths, 0.1)) == pytest.approx(expected, rel=1e-5)
