"""The worker thread, and the BLAS that MLX is given."""

import os
import subprocess
import sys
import threading
import time

import mlx.core as mx
import pytest

from nanoasr import backend


def in_a_new_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_work_gives_its_value_or_raises_its_error():
    assert backend.run(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(ZeroDivisionError):
        backend.run(lambda: 1 / 0)


def test_all_work_runs_on_one_thread_even_when_it_calls_for_more():
    def outer():
        return threading.current_thread(), backend.run(threading.current_thread)

    first, inner = backend.run(outer)
    assert first is inner is backend.run(threading.current_thread)
    assert first is not threading.current_thread()


def test_what_was_left_lazy_there_can_be_finished_there():
    lazy = backend.run(lambda: mx.ones(4) * 2)
    assert backend.run(lambda: lazy.tolist()) == [2, 2, 2, 2]


def test_work_submitted_from_many_threads_is_all_done():
    futures = []
    threads = [threading.Thread(target=lambda i=i: futures.append(backend.submit(lambda: i * i))) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(future.result() for future in futures) == [i * i for i in range(20)]


def test_processes_that_used_the_worker_end_well():
    for _ in range(3):
        code = (
            "import nanoasr.backend as b, mlx.core as mx; b.run(lambda: mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64))))"
        )
        assert in_a_new_process(code) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's MLX wheel lacks an optimised BLAS")
def test_the_blas_can_be_switched_off_or_be_missing():
    said = "import nanoasr.backend as b; print(b.blas_path, b.blas_warning())"
    assert in_a_new_process(said, NANOASR_BLAS="off") == "None None"
    assert "nowhere.so" in in_a_new_process(said, NANOASR_BLAS="/nowhere.so")
    assert "import nanoasr first" in in_a_new_process("import mlx.core; " + said, NANOASR_BLAS="")


@pytest.mark.skipif(sys.platform != "linux" or not backend.on_cpu, reason="elsewhere the order makes no difference")
def test_importing_mlx_first_is_warned_of():
    warned = (
        "import warnings; warnings.simplefilter('error')\ntry: import nanoasr\nexcept RuntimeWarning as w: print(w)"
    )
    assert "import nanoasr first" in in_a_new_process("import mlx.core\n" + warned, NANOASR_BLAS="")
    assert in_a_new_process(warned, NANOASR_BLAS="") == ""


def test_importing_nanoasr_is_quick():
    def seconds() -> float:
        start = time.perf_counter()
        in_a_new_process("import nanoasr")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(4)) < 0.5 + 0.1  # starting Python itself takes some of it
