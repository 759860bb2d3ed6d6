"""Time work fairly."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx

Work = Callable[[], float]  # does something once and returns the seconds it took
_QUICK = 1.0  # seconds
_SLOW = 10.0  # seconds; slower work is not warmed up
_LIMIT = 60.0  # seconds; work that took longer in total is not repeated


@dataclass(frozen=True)
class Time:
    """Seconds that a piece of work took: median, minimum and maximum of some repeats."""

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Time":
        """Summarize repeats."""
        return cls(statistics.median(seconds), min(seconds), max(seconds), len(seconds))

    def __str__(self) -> str:
        unit, scale = ("s", 1.0) if self.median >= 1 else ("ms", 1e3)
        low, median, high = (f"{value * scale:#.3g}".rstrip(".") for value in (self.low, self.median, self.high))
        return f"{median} {unit} ({low} to {high}, {self.repeats}×)"


def seconds_of(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds_until_read(work: Callable[[], mx.array]) -> float:
    """Time one call until its result has been read back; call on the worker thread.

    A GPU computes while Python continues, so evaluation alone would not do.
    """
    mx.synchronize()
    start = time.perf_counter()
    result = work()
    mx.eval(result)
    result[(0,) * result.ndim].item()
    return time.perf_counter() - start


def take_turns(works: Mapping[str, Work], repeats: int) -> dict[str, Time]:
    """Time several works in rotation, so that a busy moment of the machine affects all of them.

    Quick work is done twice in each turn and the second time counts: the work before it may have emptied MLX's buffer
    cache (mlx-audio does after every text), and the next one would pay for it.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    spent = dict.fromkeys(works, 0.0)

    def do(name: str) -> None:
        start = time.perf_counter()
        times[name].append(works[name]())
        spent[name] += time.perf_counter() - start

    for name in works:  # warm up
        do(name)
        if spent[name] < 1:
            do(name)
        if spent[name] < _SLOW:
            times[name].clear()
    quick = {name for name in works if spent[name] < _QUICK} if len(works) > 1 else set()
    while unfinished := [name for name in works if len(times[name]) < (repeats if spent[name] < _LIMIT else 1)]:
        for name in unfinished:
            if name in quick:
                works[name]()
            do(name)
    return {name: Time.of(seconds) for name, seconds in times.items()}
