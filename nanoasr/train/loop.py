"""The training loop: steps, validation, the saved state, and the final checkpoint.

Several processes, one per GPU, can train together (`mlx.launch -n 4 …`): each computes the gradient of its own batch
and all apply the mean, so their weights stay equal. Rank 0 does all printing and writing.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from tqdm import tqdm

from .. import backend
from ..audio.features import SAMPLE_RATE, frame_count, lfr_count
from . import snapshot
from .batches import Batch, Data, Source
from .config import TrainConfig
from .curve import Curve
from .evaluate import Score, score
from .export import export
from .lora import merge_lora
from .manifest import read_manifest
from .network import compute_type, start_network
from .optimizer import Packing, clip, first_state, update
from .pool import load_pool
from .prompts import Prompts
from .snapshot import Place
from .step import features_of, losses, on_device

_PREFETCH = 4  # batches


@dataclass(frozen=True)
class Outcome:
    """The result of a training run: the checkpoint's folder, steps done, and the last scores by manifest."""

    checkpoint: Path
    steps: int
    scores: dict[str, Score]


def train(config: TrainConfig, stop_after: float | None = None) -> Outcome:
    """Train until the last step, or for `stop_after` seconds; the same call again continues a stopped run.

    `config.out` gets `state.safetensors` (to continue from), `curve.jsonl` and `curve.html`, and `checkpoint/`, which
    `nanoasr.load` reads. Under `mlx.launch` all processes share the work.
    """
    started = time.monotonic()
    training = _Training(config)
    if config.init and not training.place.step:
        training.validate()  # the baseline
    silent = None if training.is_first else True
    with tqdm(total=config.optimizer.steps, initial=training.place.step, unit="step", disable=silent) as bar:
        try:
            for batch, after in training.batches():
                training.do_step(batch, after)
                bar.update()
                step = training.place.step
                if step % config.log_every == 0:
                    bar.set_postfix_str(training.log(to_console=bar.disable))
                if step % config.save_every == 0:
                    training.save()
                if stop_after is not None and training.longest(time.monotonic() - started) > stop_after:
                    break
                if step % config.validate_every == 0 and step < config.optimizer.steps:
                    training.validate()
        except KeyboardInterrupt:
            training.print("interrupted: saving")
    training.save()
    training.validate()
    return Outcome(training.export(), training.place.step, training.scores)


class _Training:
    """The state of a run: weights and moments, the position in the data, and what the config defines."""

    def __init__(self, config: TrainConfig):
        self.config, self.out = config, Path(config.out)
        self.group = mx.distributed.init()
        self.is_first = self.group.rank() == 0
        sources = [(source, read_manifest(source.manifest)) for source in config.train]
        utterances = [u for _, lines in sources for u in lines]
        if not self.is_first:
            self.barrier()  # rank 0 may have to write the tokenizer that all read
        self.start = start_network(config, utterances)
        if self.is_first:
            self.barrier()
        self.model = self.start.model
        self.data, self.pool = self._load(sources)
        self.prompts = self._make_prompts(self.data)
        self.valid = {name: self._load([(Source(path), read_manifest(path))]) for name, path in config.valid.items()}
        self.dtype = compute_type(config, backend.on_cpu)
        self.place = Place()
        self.packing = Packing(self.model.trainable_parameters())
        weights = self.packing.pack(self.model.trainable_parameters())
        self.state = first_state(weights, config.optimizer.average > 0)
        self.state_file = self.out / "state.safetensors"
        if self.state_file.is_file():
            self.state, self.place = snapshot.load(self.state_file, self.state, self.packing.shapes)
        mx.eval(self.state)
        self.curve = Curve(self.out, self.place.step) if self.is_first else None
        self.scores: dict[str, Score] = {}
        trains_encoder = any(name.startswith(("audio_encoder.", "ctc")) for name in self.packing.shapes)
        self._trains = {"ctc": trains_encoder and config.loss.ctc > 0 and self.model.config.ctc is not None}
        self._trains["text"] = config.loss.text > 0
        self._step = {with_text: self._make_step(with_text) for with_text in (False, True)}
        self._reports: list[mx.array] = []
        self._seconds, self._since = 0.0, time.monotonic()
        together = f" by {self.group.size()} processes" if self.group.size() > 1 else ""
        self.print(
            f"{self.data.pool.hours:.2f} hours in {len(utterances):,} recordings ({self.data.left_out} of them "
            f"too short or too long to use); {_millions(self.model.trainable_parameters())} of "
            f"{_millions(self.model.parameters())} weights are trained{together}; from step {self.place.step}"
        )

    def print(self, line: str) -> None:
        """Print a line on rank 0, above the progress bar if there is one."""
        if self.is_first:
            tqdm.write(line)

    def barrier(self) -> None:
        """Wait for all processes."""
        self.longest(0)

    def longest(self, seconds: float) -> float:
        """Return the maximum over all processes, waiting for them."""
        if self.group.size() == 1:
            return seconds
        return mx.distributed.all_max(mx.array(float(seconds)), group=self.group).item()

    def batches(self) -> Iterator[tuple[Batch, Place]]:
        """Yield the remaining batches, each with the position after it; a thread composes them ahead of use.

        Processes take the batches of an epoch in turn.
        """
        config, left = self.config, self.config.optimizer.steps - self.place.step

        def compose() -> Iterator[tuple[Batch, Place]]:
            step, epoch, start = self.place.step, self.place.epoch, self.place.batch
            while True:
                planned = self.data.epoch(config.seed, epoch)
                together, rank = self.group.size(), self.group.rank()
                for number in range(start, max(1, len(planned) // together)):
                    step += 1
                    own = planned[(number * together + rank) % len(planned)]
                    batch = self.data.compose(*own, self.prompts, seed=config.seed * 100_003 + epoch)
                    yield batch, Place(step, epoch, number + 1)
                epoch, start = epoch + 1, 0

        source = compose()
        with ThreadPoolExecutor(1) as thread:
            waiting: list[Future] = [thread.submit(next, source) for _ in range(min(_PREFETCH, left))]
            for taken in range(left):
                yield waiting.pop(0).result()
                if taken + _PREFETCH < left:
                    waiting.append(thread.submit(next, source))

    def do_step(self, batch: Batch, after: Place) -> None:
        """Launch a step and wait for the one before it, so that the device is never idle and never far behind."""
        optimizer, count = self.config.optimizer, self.place.step
        weight = self.config.loss.text_weight(count)
        scalars = mx.array([optimizer.rate_at(count), optimizer.average_at(count), weight, count + 1])
        random = (self.config.seed * 1_000_003 + count) * self.group.size() + self.group.rank()
        mx.random.seed(random)  # for dropout
        key = mx.random.key(random ^ 0x5EED)  # for augmentation
        self.state, report = self._step[weight > 0](
            self.state, self.pool, on_device(batch).arrays(), batch.samples, key, scalars
        )
        mx.async_eval(self.state, report)
        if self._reports:
            mx.eval(self._reports[-1])
        self._reports.append(report)
        self._seconds += int(batch.lengths.sum()) / SAMPLE_RATE
        self.place = after

    def log(self, to_console: bool) -> str:
        """Add the mean over the steps since the last call to the curve, and return a summary."""
        means = mx.stack(self._reports).mean(axis=0).tolist()
        shown = {name: round(mean, 4) for name, mean in zip(("ctc", "text"), means, strict=False) if self._trains[name]}
        elapsed = time.monotonic() - self._since
        pace = {"step_seconds": round(elapsed / len(self._reports), 4), "speed": round(self._seconds / elapsed)}
        rate = self.config.optimizer.rate_at(self.place.step - 1)
        if self.curve:
            self.curve.add(step=self.place.step, **shown, norm=round(means[2], 3), rate=rate, **pace)
        words = ", ".join(f"{name} {loss:.3f}" for name, loss in shown.items())
        words += f", {pace['step_seconds']:.3f} s/step, {pace['speed']:,} × real time"
        if to_console:
            self.print(f"step {self.place.step}: {words}")
        self._reports, self._seconds, self._since = [], 0.0, time.monotonic()
        return words

    def validate(self) -> None:
        """Score the averaged weights on every validation manifest."""
        if not self.valid or not self.is_first:
            return
        self._use_best()
        self.model.eval()
        use_llm = self.config.init is not None or self.place.step > self.config.loss.text_from
        for name, (data, pool) in self.valid.items():
            prompts = self._make_prompts(data)
            most = 0 if self.place.step >= self.config.optimizer.steps else self.config.validate_batches
            self.scores[name], heard = score(self.start, data, prompts, pool, use_llm, most)
            self.print(f"step {self.place.step}: {name}: {self.scores[name]}")
            for line in heard[:: max(1, len(heard) // 3)][:3]:
                self.print(f"    text {line.text!r}  ctc {line.ctc!r}  llm {line.llm!r}")
        rates = {f"wer {name} {kind}": rate for name, s in self.scores.items()
                 for kind, rate in (("ctc", s.ctc), ("llm", s.text)) if rate is not None}  # fmt: skip
        self.curve.add(step=self.place.step, **rates)
        self.curve.draw()
        self.model.train()
        mx.clear_cache()
        self._since = time.monotonic()

    def save(self) -> None:
        """Write the state to continue from, and draw the curve."""
        if self.is_first:
            snapshot.save(self.state_file, self.state, self.place, self.packing.shapes)
            self.curve.draw()

    def export(self) -> Path:
        """Write the averaged weights as a checkpoint and return its folder."""
        if not self.is_first:
            return self.out / "checkpoint"
        self._use_best()
        self.model.eval()
        merge_lora(self.model)
        return export(self.model, self.start.origin, self.out / "checkpoint")

    def _load(self, sources: list) -> tuple[Data, mx.array]:
        pool = load_pool([u for _, lines in sources for u in lines])
        rows = mx.array(pool.rows)
        mx.eval(rows)
        return Data(sources, pool, self.config.batch), rows

    def _make_prompts(self, data: Data) -> Prompts:
        def audio_tokens(samples: int) -> int:
            return self.model.audio_token_count(max(1, lfr_count(frame_count(samples))))

        return Prompts(self.start.tokenizer, self.config.prompts, audio_tokens, data.utterances)

    def _make_step(self, with_text: bool) -> Callable:
        config, decayed = self.config, self.packing.matrices()
        loss = config.loss if self._trains["ctc"] else replace(config.loss, ctc=0.0)

        def forward(weights, pool, arrays, samples, key, text_weight):
            self.model.update(weights)
            batch = Batch(samples, *arrays)
            features, lengths = features_of(pool, batch, self.start.cmvn, key, config.augment)
            ctc, text = losses(self.model, batch, features, lengths, loss, with_text)
            return loss.ctc * ctc + text_weight * text, ctc, text

        def step(state, pool, arrays, samples, key, scalars):
            rate, keep, text_weight, number = scalars
            weights = self.packing.unpack(state["weights"].astype(self.dtype))
            (_, ctc, text), gradients = mx.value_and_grad(forward)(weights, pool, arrays, samples, key, text_weight)
            gradient = mx.distributed.all_sum(self.packing.pack(gradients), group=self.group) / self.group.size()
            gradient, norm = clip(gradient, config.optimizer.clip)
            after = update(state, gradient, decayed, rate, keep, number, config.optimizer)
            return after, mx.stack([ctc, text, norm])

        # Not compiled: on CUDA that took 55 s per batch shape, for a step that takes 0.045 s without it.
        return step

    def _use_best(self) -> None:
        weights = self.state.get("average", self.state["weights"])
        self.model.update(self.packing.unpack(weights.astype(self.dtype)))
        mx.eval(self.model.parameters())


def _millions(tree: dict) -> str:
    return f"{sum(array.size for _, array in tree_flatten(tree)) / 1e6:.2f} M"
