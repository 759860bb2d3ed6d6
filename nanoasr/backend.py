"""Choose MLX's device and BLAS, and run MLX work on one worker thread.

Import this before `mlx.core`: on a Linux CPU the BLAS must be loaded before MLX.
"""

import atexit
import ctypes
import functools
import os
import queue
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path
from typing import Any, TypeVar

from .errors import NanoASRError

Result = TypeVar("Result")
_MIN_ADDRESS_SPACE = 3 << 29  # bytes; what a small checkpoint takes on a CPU


def _blas_candidates() -> list[str]:
    """List libraries that export `cblas_sgemm`, best first: oneMKL's wheel, then the system's OpenBLAS."""
    wheels = [Path(prefix) / "lib" for prefix in dict.fromkeys((sys.prefix, sys.base_prefix))]
    mkl = [str(path) for folder in wheels for path in sorted(folder.glob("libmkl_rt.so*"), reverse=True)]
    return mkl + [name for name in (find_library("mkl_rt"), find_library("openblas")) if name]


def _load_blas() -> tuple[str | None, str | None]:
    """Load an optimised BLAS into the global symbol scope, where MLX finds it. -> (its path, a warning)."""
    requested = os.environ.get("NANOASR_BLAS", "")
    if sys.platform != "linux" or requested == "off":
        return None, None
    if _mlx_came_first:
        return None, "mlx was imported before nanoasr, so it keeps its slow BLAS: import nanoasr first"
    for path in [requested] if requested else _blas_candidates():
        try:
            library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            library.cblas_sgemm  # noqa: B018 (raises if the name is missing)
        except (OSError, AttributeError) as error:
            if requested:
                return None, f"NANOASR_BLAS={requested} cannot be used ({error}): the CPU will be slow"
        else:
            return path, None
    return None, (
        "no optimised BLAS found, so MLX on this CPU is 20 to 60 times slower than it could be: "
        "`pip install mkl` (x86-64) or `apt-get install libopenblas0-pthread`"
    )


def _warn_of_little_address_space() -> None:
    """Warn before the import of MLX or MKL ends the process without a message, unable to map memory."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < _MIN_ADDRESS_SPACE:
        warnings.warn(f"only {limit >> 20} MB of address space (ulimit -v): nanoasr may crash", RuntimeWarning, 2)


if sys.platform == "linux":
    _warn_of_little_address_space()
os.environ.setdefault("MLX_ENABLE_TF32", "0")  # TF32 rounds CUDA's float32 products to 10 bits of mantissa
# Idle, oneMKL's threads spin for 200 ms. On two cores, beside one busy process (such as a browser), that made
# work four times as slow as alone; with this it is half as fast as alone.
os.environ.setdefault("KMP_BLOCKTIME", "100us")
_mlx_came_first = "mlx.core" in sys.modules
blas_path, _blas_warning = _load_blas()

import mlx.core as mx  # noqa: E402 (the BLAS comes first)


def _choose_device() -> None:
    requested = os.environ.get("NANOASR_DEVICE", "")
    if requested in ("cpu", "gpu"):
        mx.set_default_device(mx.Device(getattr(mx, requested)))


_choose_device()
on_cpu = mx.default_device().type == mx.cpu
on_cuda = not on_cpu and mx.cuda.is_available()
# A CPU has fast products in float32 only. On CUDA, MLX compiles its quantized products for many rows when they are
# first used, which takes a minute, and with MLX 0.32.4 their results were wrong on an H100.
expands_quantized = on_cpu or on_cuda
if on_cpu and _mlx_came_first and _blas_warning:
    warnings.warn(_blas_warning, RuntimeWarning, stacklevel=2)
_compiles = not on_cpu or sys.platform == "darwin" or shutil.which("g++") is not None
if not _compiles:
    mx.disable_compile()  # on a Linux CPU mx.compile calls g++ at run time; without one it fails
slow_exp = on_cpu and sys.platform == "linux" and _compiles  # exp one scalar at a time, where compiled code is faster


_limiting, _limited, _limits = threading.Lock(), 0, None


@contextmanager
def numpy_on_one_thread() -> Iterator[None]:
    """Keep NumPy's products on the calling thread while MLX computes on others: the threads of NumPy's own BLAS spin
    between products, and so would slow both."""
    global _limited, _limits
    with _limiting:
        _limited += 1
        _limits = _limits or _numpy_blas().limit(limits=1)
    try:
        yield
    finally:
        with _limiting:
            _limited -= 1
            if not _limited:
                _limits.restore_original_limits()
                _limits = None


@functools.cache  # to look through all libraries takes milliseconds
def _numpy_blas() -> Any:  # a ThreadpoolController
    import threadpoolctl  # here: few need it, and it takes as long to import as a tenth of nanoasr

    return threadpoolctl.ThreadpoolController().select(internal_api="openblas")


def blas_warning() -> str | None:
    """Say in one line why the CPU will be slow; None if it will not be, or is not used."""
    return _blas_warning if on_cpu else None


def device_name() -> str:
    """Name the device for people: `NVIDIA H200`, `Apple M3 Pro`, `CPU (8 threads)`."""
    if on_cpu:
        return f"CPU ({len(os.sched_getaffinity(0)) if sys.platform == 'linux' else os.cpu_count()} threads)"
    info = mx.device_info()
    return str(info.get("device_name", "GPU"))


def measure_gflops() -> float:
    """Measure the speed of float32 matrix products in GFLOP/s (takes about 0.1 s)."""

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
    """Return the peak memory use in bytes: of the device, or of this process on a CPU."""
    if not on_cpu:
        return mx.get_peak_memory()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_memory() -> None:
    """Return free heap memory to the system, for work that lasts hours.

    On a Linux CPU MLX's arrays come from malloc, and glibc keeps the gaps between arrays of many sizes.
    """
    if on_cpu and sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


# MLX streams belong to threads (since 0.31.2): an array left lazy on one thread cannot be evaluated on another. So all
# model work, loading included, runs on one worker thread, and the arrays that leave it are evaluated.
class _Worker:
    """The worker thread and its queue. The thread starts with the first job."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        self.busy = False
        self.unusable: str | None = None  # why no job can run in this process
        self._starting = threading.Lock()

    def put(self, job: Callable[[], None]) -> None:
        if self.unusable:
            raise NanoASRError(self.unusable)
        with self._starting:
            if not self.thread:
                # Never ends: what MLX keeps for each thread is destroyed with it, which aborts the process if Python
                # is shutting down. A waiting daemon thread is left alone.
                thread = threading.Thread(target=self._work, name="nanoasr", daemon=True)
                thread.start()
                self.thread = thread
        self.jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self.jobs.get()
            self.busy = True
            job()
            self.busy = False
            del job  # it holds arrays


_worker = _Worker()


def _restart_after_fork() -> None:
    """Give a forked child a worker of its own, since threads are not inherited."""
    global _worker
    parent, _worker = _worker, _Worker()
    if parent.thread and not on_cpu:
        _worker.unusable = "A GPU cannot be used after a fork: start processes with the 'spawn' method."
    elif parent.busy:
        _worker.unusable = "This process was forked while nanoasr was working: fork earlier, or use 'spawn'."


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_after_fork)


@atexit.register
def _finish_worker() -> None:
    if _worker.thread:
        submit(mx.clear_streams).result()


def submit(work: Callable[..., Result], *args: Any, **kwargs: Any) -> "Future[Result]":
    """Queue `work(*args, **kwargs)` for the worker thread and return a Future at once.

    Jobs run in the order they came. Keep each one short (a segment, a batch): other callers wait for it.
    """
    future: Future[Result] = Future()

    def job() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work(*args, **kwargs))
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            future.set_exception(error)
        except BaseException as error:  # a panic in Rust code, which callers' `except Exception` would miss
            wrapped = NanoASRError(f"internal error ({type(error).__name__}: {error})")
            wrapped.__cause__ = error
            future.set_exception(wrapped)

    _worker.put(job)
    return future


def on_worker_thread() -> bool:
    """Return True on the thread that MLX work runs on."""
    return threading.current_thread() is _worker.thread


def run(work: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Run `work(*args, **kwargs)` on the worker thread and return its result or raise its error."""
    if on_worker_thread():
        return work(*args, **kwargs)
    return submit(work, *args, **kwargs).result()
