"""The losses: CTC over the encoder's frames, cross entropy over the text."""

import mlx.core as mx

from .. import backend
from . import kernels

_IMPOSSIBLE = -1e30  # a finite log-probability: -inf − -inf would be NaN in the recursion


def ctc_loss(
    log_probs: mx.array, targets: mx.array, input_lengths: mx.array, target_lengths: mx.array, blank: int
) -> mx.array:
    """Compute the negative log-likelihood of each target under CTC.

    log_probs [B, T, V] are log-softmax values, targets [B, U] ids (ignored after each length), both lengths [B].
    Returns float32 [B]; if a target does not fit its frames, the loss is inf and its gradient zero.
    """
    batch = log_probs.shape[0]
    states = mx.zeros((batch, 2 * targets.shape[1] + 1), dtype=mx.int32) + blank
    states[:, 1::2] = targets.astype(mx.int32)
    position = mx.arange(states.shape[1])[None]
    states = mx.where(position <= 2 * target_lengths[:, None], states, blank)
    emissions = mx.take_along_axis(log_probs.astype(mx.float32), states[:, None], axis=2)
    emissions = mx.maximum(emissions, _IMPOSSIBLE)
    two_back = mx.concatenate([mx.full((batch, 2), blank), states[:, :-2]], axis=1)
    may_skip = (states != blank) & (states != two_back)
    return _likelihood(emissions, may_skip, input_lengths, target_lengths)[0]


@mx.custom_function
def _likelihood(emissions, may_skip, input_lengths, target_lengths):
    """Return the loss [B] and its closed-form gradient [B, T, S] for emissions [B, T, S] of the 2U+1 states.

    The backward variables are the forward variables of the reversed sequence, so one recursion over 2B rows gives both.
    """
    batch, frames, states = emissions.shape
    last_frame, last_state = input_lengths - 1, 2 * target_lengths
    turned_frame = mx.maximum(last_frame[:, None] - mx.arange(frames), 0)
    turned_state = mx.maximum(last_state[:, None] - mx.arange(states), 0)

    def turned(x):
        x = mx.take_along_axis(x, turned_frame[:, :, None], axis=1)
        return mx.take_along_axis(x, turned_state[:, None, :], axis=2)

    # A skip into a state, from two states back, is a skip out of it in the reversed sequence.
    ahead = mx.concatenate([may_skip[:, 2:], mx.zeros((batch, 2), dtype=mx.bool_)], axis=1)
    skips = mx.concatenate([may_skip, mx.take_along_axis(ahead, turned_state, axis=1)])
    variables = _recursion(mx.concatenate([emissions, turned(emissions)]), skips)
    forward, backward = variables[:batch], turned(variables[batch:])

    at_end = mx.take_along_axis(forward, last_frame[:, None, None], axis=1)[:, 0]
    ends = mx.take_along_axis(at_end, mx.stack([last_state, mx.maximum(last_state - 1, 0)], axis=1), axis=1)
    only_blank = (last_state == 0)[:, None] & mx.array([[False, True]])
    total = mx.logsumexp(mx.where(only_blank, _IMPOSSIBLE, ends), axis=1)
    possible = (total > _IMPOSSIBLE / 2) & (input_lengths > 0)

    valid = (mx.arange(frames) < input_lengths[:, None])[:, :, None]
    valid = valid & (mx.arange(states) <= last_state[:, None])[:, None, :] & possible[:, None, None]
    posterior = mx.exp(mx.minimum(forward + backward - emissions - total[:, None, None], 0))
    return mx.where(possible, -total, mx.inf), mx.where(valid, -posterior, 0)


@_likelihood.vjp
def _likelihood_vjp(primals, cotangents, outputs):
    return (cotangents[0][:, None, None] * outputs[1], *(mx.zeros_like(x) for x in primals[1:]))


def _recursion(emissions: mx.array, may_skip: mx.array) -> mx.array:
    """Return the forward variables [R, T, S] of R independent rows; paths start in state 0 or 1."""
    if backend.on_cuda:
        return kernels.forward_variables(emissions, may_skip, _IMPOSSIBLE)
    return _frame_by_frame(emissions, may_skip)


def _frame_by_frame(emissions: mx.array, may_skip: mx.array) -> mx.array:
    rows, frames, states = emissions.shape
    start = (mx.arange(states) < 2)[None]
    skip = mx.where(may_skip, 0, _IMPOSSIBLE)
    edge = mx.full((rows, 2), _IMPOSSIBLE)
    now = mx.where(start, emissions[:, 0], _IMPOSSIBLE)
    history = [now]
    for frame in range(1, frames):
        before = mx.concatenate([edge, now], axis=1)
        now = _step(now, before[:, 1:-1], before[:, :-2] + skip, emissions[:, frame])
        history.append(now)
    return mx.stack(history, axis=1)


@mx.compile
def _step(stay, advance, skip, emission):
    top = mx.maximum(mx.maximum(stay, advance), skip)
    total = mx.exp(stay - top) + mx.exp(advance - top) + mx.exp(skip - top)
    return mx.maximum(top + mx.log(total) + emission, _IMPOSSIBLE)


def text_loss(logits: mx.array, targets: mx.array, lengths: mx.array, label_smoothing: float = 0.0) -> mx.array:
    """Compute the mean cross entropy of the first `lengths` [B] of targets [B, U] under logits [B, U, V]."""
    logits = logits.astype(mx.float32)
    wanted = mx.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        wanted = (1 - label_smoothing) * wanted + label_smoothing * logits.mean(axis=-1)
    counted = mx.arange(targets.shape[1]) < lengths[:, None]
    return mx.where(counted, mx.logsumexp(logits, axis=-1) - wanted, 0).sum() / mx.maximum(lengths.sum(), 1)
