"""The worker thread, and the BLAS that MLX is given."""

import os
import subprocess
import sys
import threading

import mlx.core as mx
import numpy as np  # noqa: F401 (its BLAS is loaded)
import pytest
from threadpoolctl import threadpool_info
from tokenizers import Regex, Tokenizer, models, normalizers

from nanoasr import backend
from nanoasr.errors import NanoASRError


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


class Panic(BaseException):
    """As `pyo3_runtime.PanicException`, which Rust code raises: no Exception."""


def test_a_panic_is_an_error_of_ours_and_the_worker_goes_on():
    def panic():
        raise Panic("index out of bounds")

    for call in (backend.run, lambda work: backend.submit(work).result()):
        with pytest.raises(NanoASRError, match="Panic: index out of bounds"):
            call(panic)
    assert backend.run(lambda: 7) == 7


def test_a_panic_of_the_tokenizers_library_is_an_error_of_ours():
    def panic():
        tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
        tokenizer.normalizer = normalizers.Replace(Regex("(a*)*$"), "x")  # exponential; the engine gives up
        tokenizer.encode("a" * 1000 + "b")

    with pytest.raises(NanoASRError, match="PanicException"):
        backend.run(panic)
    assert backend.run(lambda: 7) == 7


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_job_may_raise_what_ends_a_program(kind):
    def leave():
        raise kind

    with pytest.raises(kind):
        backend.run(leave)
    assert backend.run(lambda: 7) == 7


FORK = """
import os, sys, threading
import nanoasr.backend as backend, mlx.core as mx

def product():
    return (mx.ones((256, 256)) @ mx.ones((256, 256))).sum().item()

busy, go_on = threading.Event(), threading.Event()
{before}
child = os.fork()
if child == 0:
    try:
        print("child", backend.run(product), flush=True)
    except backend.NanoASRError as error:
        print("refused:", error, flush=True)
    os._exit(0)
go_on.set()
os.waitpid(child, 0)
print("parent", backend.run(product))
"""


@pytest.mark.skipif(not backend.on_cpu, reason="a GPU cannot be used after a fork")
@pytest.mark.parametrize("before", ["", "backend.run(product)"])
def test_a_forked_child_has_a_worker_of_its_own(before):
    assert in_a_new_process(FORK.format(before=before)) == "child 16777216.0\nparent 16777216.0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_in_the_middle_of_work_is_refused_with_a_reason():
    work = "backend.submit(lambda: (busy.set(), go_on.wait())); busy.wait()"
    said = in_a_new_process(FORK.format(before=work))
    assert said.startswith("refused: ") and "'spawn'" in said
    assert said.endswith("parent 16777216.0")


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v works on Linux only")
def test_too_little_address_space_is_warned_of():
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
    code += "import warnings; warnings.simplefilter('error')\ntry: import nanoasr\nexcept RuntimeWarning as w: print(w)"
    assert "1024 MB of address space" in in_a_new_process(code)


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
    said = "import os; os.environ['NANOASR_DEVICE'] = 'cpu'; "
    said += "import nanoasr.backend as b; print(b.blas_path, b.blas_warning())"
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
    seconds = "import mlx.core, time; a = time.process_time(); import nanoasr; print(time.process_time() - a)"
    assert min(float(in_a_new_process(seconds, NANOASR_DEVICE="cpu")) for _ in range(3)) < 0.5


def test_numpy_keeps_to_one_thread_until_the_last_who_asked_is_done():
    def threads():
        return [own["num_threads"] for own in threadpool_info() if own["internal_api"] == "openblas"]

    before = threads()
    assert before
    with backend.numpy_on_one_thread():
        with backend.numpy_on_one_thread():
            assert set(threads()) <= {1}
        assert set(threads()) <= {1}
    assert threads() == before
