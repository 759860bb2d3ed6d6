"""Transcribe on Ray Data: tasks cut long recordings at pauses, actors that hold the model transcribe.

The driver only sees rows, and it alone writes. Blocks that are lost with a worker or a node leave recordings without a
row; these go through once more, at last one by one, and a recording that ends its worker even then is an error row.
"""

import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import NanoASRError, OptionError
from .inputs import Input, is_uri
from .job import Engine, Settings
from .rows import Row, join_rows

_STAGES = 3  # in batches, once more, one by one
_USELESS = 3  # runs in a row that end with an error before any row comes
_BLOCK_BYTES = 16 * 2**20  # of samples; a block is what one worker takes at a time
_CUTTER_CPUS = 0.1  # most recordings pass uncut, and actors may have all the others


@dataclass(frozen=True)
class RayOptions:
    """Where and how workers run.

    address          "auto" or HOST:PORT of a cluster; None starts one on this machine, unless one is connected
    workers          how many actors; None for one a GPU, or without GPUs one for four CPUs
    gpus_per_worker  of each actor; None for 1 if the cluster has GPUs
    split_seconds    longer recordings are cut and shared out over workers
    batch_size       segments that a worker decodes together; None to choose by device
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    split_seconds: float = 600.0
    batch_size: int | None = None


def ray_engine(settings: Settings, options: RayOptions) -> Engine:
    """Return the engine that works on a Ray cluster."""
    try:
        import ray.data
    except ImportError:
        raise OptionError('--engine ray needs Ray: pip install "nanoasr[ray]"') from None

    def engine(inputs: Sequence[Input]) -> Iterator[Row]:
        _connect(options)
        items = [_absolute(item) for item in inputs]
        missing = set(range(len(items)))
        reasons: dict[int, str] = {}
        stage, useless = 0, 0
        while missing and stage < _STAGES:
            before = len(missing)
            try:
                work = _transcribe(items, sorted(missing), settings, options, reasons, stage == _STAGES - 1)
                for index, row in work:
                    if index in missing:
                        missing.remove(index)
                        yield _named(row, inputs[index])
                stage += 1
            except ray.exceptions.RayError as error:  # such as a worker that was starting on a node that left
                useless = useless + 1 if len(missing) == before else 0
                if useless == _USELESS:
                    raise NanoASRError(f"Ray cannot start workers: {_reason(error)}") from error
        for index in sorted(missing):
            reason = reasons.get(index, "its worker ended each time that it was tried")
            yield Row(inputs[index].source, error=reason, offset=inputs[index].offset)

    return engine


def _reason(error: Exception) -> str:
    """Return the last line of an error, where Ray quotes what was raised on the worker."""
    return str(error).strip().rpartition("\n")[2]


def _connect(options: RayOptions) -> None:
    import ray

    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a worker without GPUs keeps the device it has
    try:
        quiet = {"log_to_driver": False, "logging_level": "WARNING", "configure_logging": False}
        ray.init(address=options.address or "local", **quiet)
    except (ConnectionError, ValueError) as error:
        raise OptionError(f"--address {options.address}: no Ray cluster there ({error})") from None


def _absolute(item: Input) -> Input:
    """Workers have other working folders."""
    source = item.source if is_uri(item.source) else os.path.abspath(item.source)
    return Input(source, None, item.duration, item.offset)


def _named(row: Row, item: Input) -> Row:
    return Row(item.source, row.text, row.segments, row.language, row.duration, row.error, item.offset)


@dataclass(frozen=True)
class _Pool:
    """Actors, and what each has."""

    workers: int
    cpus: int
    gpus: float

    @classmethod
    def plan(cls, options: RayOptions) -> "_Pool":
        import ray

        total = ray.cluster_resources()
        gpus = options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if total.get("GPU") else 0.0
        cpus = int(total.get("CPU", 1))
        workers = options.workers or (int(total.get("GPU", 0) / gpus) if gpus else math.ceil(cpus / 4)) or 1
        if gpus and workers * gpus > total.get("GPU", 0):
            have = total.get("GPU", 0)
            raise OptionError(f"{workers} workers with {gpus:g} GPUs each: the cluster has {have:g} GPUs")
        return cls(workers, max(1, cpus // workers), gpus)

    def actor_options(self) -> dict:
        threads = str(self.cpus)
        variables = {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        variables |= {name: value for name, value in os.environ.items() if name.startswith("NANOASR_")}
        return {
            "num_cpus": 0.5,  # a node that stays has room for the workers of one that leaves
            "num_gpus": self.gpus,
            "runtime_env": {"env_vars": variables},
            "scheduling_strategy": "SPREAD",
            "max_restarts": 0,  # a restart would wait for the resources of a node that left; see _STAGES
        }


def _transcribe(
    items: Sequence[Input],
    indices: Sequence[int],
    settings: Settings,
    options: RayOptions,
    reasons: dict[int, str],
    one_by_one: bool,
) -> Iterator[tuple[int, Row]]:
    """Run the recordings through the cluster once; yields index and row of those that come back."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from .workers import CutLongRecordings, Transcribe, may_be_long, work_row

    pool = _Pool.plan(options)
    context = DataContext.get_current()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.target_max_block_size = _BLOCK_BYTES
    rows = 1 if one_by_one else max(1, min(64, math.ceil(len(indices) / (4 * pool.workers))))
    table = [work_row(index, items[index]) for index in indices]
    dataset = ray.data.from_items(table, override_num_blocks=math.ceil(len(table) / rows))
    splits = settings.speakers is False  # speakers are told apart over a whole recording
    if splits and any(may_be_long(items[index], options.split_seconds) for index in indices):
        cutter = CutLongRecordings(options.split_seconds, settings.vad, settings.max_seconds)
        dataset = dataset.flat_map(cutter, num_cpus=_CUTTER_CPUS)
    ahead = 1 if one_by_one else 2  # a queued batch would be lost with the one before it
    dataset = dataset.map_batches(
        Transcribe,
        fn_constructor_kwargs={"settings": settings, "batch_size": options.batch_size},
        compute=ActorPoolStrategy(size=min(pool.workers, len(table)), max_tasks_in_flight_per_actor=ahead),
        batch_size=rows,
        batch_format="numpy",
        **pool.actor_options(),
    )
    pieces: dict[int, dict[int, Row]] = {}
    ends: dict[int, int] = {}
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        for index, piece, last, failure, text in zip(*(batch[name] for name in Transcribe.COLUMNS), strict=True):
            index, piece = int(index), int(piece)
            if failure:
                reasons[index] = str(failure)
                continue
            parts = pieces.setdefault(index, {})
            parts[piece] = Row.from_dict(json.loads(text))
            if last:
                ends[index] = piece
            if len(parts) == ends.get(index, -1) + 1:
                del pieces[index]
                yield index, join_rows(parts[number] for number in sorted(parts))
