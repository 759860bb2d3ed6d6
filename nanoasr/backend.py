"""Which device and BLAS MLX runs on, and the one worker thread that MLX work runs on.

Import this before `mlx.core`: on a Linux CPU the BLAS must be in the process before MLX is.
"""

import atexit
import ctypes
import os
import queue
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from ctypes.util import find_library
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def _blas_candidates() -> list[str]:
    """Libraries with a plain-named `cblas_sgemm`, best first: oneMKL's wheel, then the system's OpenBLAS."""
    wheels = [Path(prefix) / "lib" for prefix in dict.fromkeys((sys.prefix, sys.base_prefix))]
    mkl = [str(path) for folder in wheels for path in sorted(folder.glob("libmkl_rt.so*"), reverse=True)]
    return mkl + [name for name in (find_library("mkl_rt"), find_library("openblas")) if name]


def _load_blas() -> tuple[str | None, str | None]:
    """Put an optimised BLAS in the global symbol scope, from where MLX takes it. -> (its path, a warning)."""
    wish = os.environ.get("NANOASR_BLAS", "")
    if sys.platform != "linux" or wish == "off":
        return None, None
    if _came_late:
        return None, "mlx was imported before nanoasr, so it keeps its slow BLAS: import nanoasr first"
    for path in [wish] if wish else _blas_candidates():
        try:
            library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            library.cblas_sgemm  # noqa: B018 (raises where the name is not there)
        except (OSError, AttributeError) as error:
            if wish:
                return None, f"NANOASR_BLAS={wish} cannot be used ({error}): the CPU will be slow"
        else:
            return path, None
    return None, (
        "no optimised BLAS found, so MLX on this CPU is 20 to 60 times slower than it could be: "
        "`pip install mkl` (x86-64) or `apt-get install libopenblas0-pthread`"
    )


# float32 means float32: without this, CUDA rounds its products to 10 bits of mantissa.
os.environ.setdefault("MLX_ENABLE_TF32", "0")
_came_late = "mlx.core" in sys.modules
blas_path, _blas_warning = _load_blas()

import mlx.core as mx  # noqa: E402 (the BLAS comes first)


def _choose_device() -> None:
    wish = os.environ.get("NANOASR_DEVICE", "")
    if wish in ("cpu", "gpu"):
        mx.set_default_device(mx.Device(getattr(mx, wish)))


_choose_device()
on_cpu = mx.default_device().type == mx.cpu
on_cuda = not on_cpu and mx.cuda.is_available()
if on_cpu and _came_late and _blas_warning:
    warnings.warn(_blas_warning, RuntimeWarning, stacklevel=2)
if on_cpu and not (sys.platform == "darwin" or shutil.which("g++")):
    mx.disable_compile()  # on a Linux CPU mx.compile calls g++ at run time; without one it fails


def blas_warning() -> str | None:
    """Why the CPU will be slow, in one line; None when it will not be, or is not used."""
    return _blas_warning if on_cpu else None


def device_name() -> str:
    """The device in words, for people: `NVIDIA H200`, `Apple M3 Pro`, `CPU (8 threads)`."""
    if on_cpu:
        return f"CPU ({len(os.sched_getaffinity(0)) if sys.platform == 'linux' else os.cpu_count()} threads)"
    info = mx.device_info()
    return str(info.get("device_name", "GPU"))


def measure_gflops() -> float:
    """Float32 matrix products a second that this device reaches, in GFLOP/s (takes about 0.1 s)."""

    def measure() -> float:
        size, best = 1024, 0.0
        a, b = mx.random.normal((2, size, size), key=mx.random.key(0))
        mx.eval(a, b)
        for _ in range(4):
            start = time.perf_counter()
            mx.eval(a @ b)
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
        return best

    return run(measure)


def peak_memory() -> int:
    """The most memory in use so far, in bytes: of the device, or of this process on a CPU."""
    if not on_cpu:
        return mx.get_peak_memory()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_memory() -> None:
    """Return what is free in the heap to the system; for work that goes on for hours.

    On a Linux CPU MLX's arrays come from malloc, and glibc keeps the gaps that those of ever other lengths leave.
    """
    if on_cpu and sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


# MLX streams belong to threads (since 0.31.2): an array left lazy on one thread cannot be evaluated on
# another. So all model work, loading included, runs on this thread, and what leaves it is evaluated.
_jobs: "queue.SimpleQueue[Callable[[], None]]" = queue.SimpleQueue()
_on_worker = threading.local()


def _work() -> None:
    _on_worker.here = True
    while True:
        job = _jobs.get()
        job()
        del job  # it holds arrays


# The thread never ends: what MLX keeps for each thread is destroyed with it, and if that happens while Python
# shuts down, the process aborts. A daemon that waits is left alone.
threading.Thread(target=_work, name="nanoasr", daemon=True).start()


@atexit.register
def _let_the_worker_finish() -> None:
    submit(mx.clear_streams).result()


def submit(work: Callable[..., Result], *args: Any, **kwargs: Any) -> "Future[Result]":
    """Queue `work(*args, **kwargs)` for the worker thread and return at once, with a Future.

    Work is done in the order it came. Keep each piece short (a segment, a batch): other callers wait for it.
    """
    future: Future[Result] = Future()

    def job() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    _jobs.put(job)
    return future


def run(work: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Do `work(*args, **kwargs)` on the worker thread and wait for its result, or its error."""
    if getattr(_on_worker, "here", False):
        return work(*args, **kwargs)
    return submit(work, *args, **kwargs).result()
