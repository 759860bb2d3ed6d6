"""Segments of many callers share one batch: each gets its own text, and nobody waits for somebody's whole batch."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PARITY

import nanoasr
from nanoasr import backend, scheduler
from nanoasr.audio.files import SAMPLE_RATE
from nanoasr.families.base import DecodeOptions, SegmentJob
from nanoasr.scheduler import Call

AUDIO = np.load(PARITY / "expected.npz")["audio"]
OPTIONS = [
    {},
    {"language": "en"},
    {"hotwords": ["MLX"], "sampling": nanoasr.Sampling(max_tokens=9, no_repeat_ngram=2)},
    {"sampling": nanoasr.Sampling(temperature=1.0, seed=3, max_tokens=20)},
    {"draft": None, "itn": False},
]


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load(PARITY / "official", dtype="float32")


def clip(i: int) -> np.ndarray:
    """A different stretch of the recording for every i."""
    return AUDIO[1600 * (i % 5) : 1600 * (i % 5) + 8000 + 6400 * (i % 4)]


def ids(transcript) -> list[int]:
    return [token.id for token in transcript.tokens]


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(range(len(OPTIONS)))), min_size=2, max_size=8))
def test_calls_side_by_side_get_what_each_gets_alone(asr, calls):
    def transcribe(call):
        return ids(asr.transcribe(clip(call[0]), vad=False, **OPTIONS[call[1]]))

    alone = [transcribe(call) for call in calls]
    with ThreadPoolExecutor(len(calls)) as pool:
        assert list(pool.map(transcribe, calls)) == alone


def test_a_batch_keeps_its_order_and_gives_what_each_recording_gives_alone(asr):
    clips = [clip(i) for i in range(9)]
    together = [ids(t) for t in asr.transcribe_batch(clips, batch_size=4, vad=False)]
    assert together == [ids(asr.transcribe(samples, vad=False)) for samples in clips]


def test_a_short_recording_does_not_wait_for_somebodys_batch(asr):
    long = nanoasr.Sampling(max_tokens=400, no_repeat_ngram=1)
    began = threading.Event()
    finished = []

    def batch():
        for _ in asr.transcribe_batch([AUDIO] * 12, batch_size=4, sampling=long, on_progress=lambda _: began.set()):
            finished.append(time.perf_counter())

    thread = threading.Thread(target=batch)
    thread.start()
    began.wait(60)
    asr.transcribe(clip(0), vad=False, sampling=nanoasr.Sampling(max_tokens=4))
    done = time.perf_counter()
    thread.join()
    assert done < finished[-1]
    assert sum(when > done for when in finished) >= 4  # most of the batch came later


def test_the_workers_pieces_of_work_are_short(asr):
    waits = []
    thread = threading.Thread(
        target=lambda: list(asr.transcribe_batch([AUDIO] * 24, batch_size=8, sampling=nanoasr.Sampling(max_tokens=64)))
    )
    start = time.perf_counter()
    thread.start()
    while thread.is_alive():
        asked = time.perf_counter()
        backend.run(lambda: None)
        waits.append(time.perf_counter() - asked)
    whole = time.perf_counter() - start
    assert max(waits) < 0.5 * whole
    assert len(waits) > 5


def test_equal_recordings_draw_different_texts_without_a_seed_and_the_same_with_one(asr):
    def texts(**options):
        sampling = nanoasr.Sampling(temperature=1.2, max_tokens=24, **options)
        return {tuple(ids(t)) for t in asr.transcribe_batch([AUDIO] * 6, batch_size=3, sampling=sampling, vad=False)}

    assert len(texts()) > 1
    assert len(texts(seed=5)) == 1


def test_an_error_in_a_callback_is_raised_to_its_caller_alone(asr):
    def fail(piece: str):
        raise RuntimeError("mine")

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(lambda: ids(asr.transcribe(clip(1), vad=False)))
        with pytest.raises(RuntimeError, match="mine"):
            asr.transcribe(AUDIO, vad=False, on_token=fail)
        assert other.result() == ids(asr.transcribe(clip(1), vad=False))


def test_jobs_of_a_call_that_was_given_up_are_dropped(asr):
    results = asr.transcribe_batch([AUDIO] * 40, batch_size=2, sampling=nanoasr.Sampling(max_tokens=200), vad=False)
    next(results)
    results.close()
    start = time.perf_counter()
    asr.transcribe(clip(0), vad=False, sampling=nanoasr.Sampling(max_tokens=2))
    assert time.perf_counter() - start < 10
    assert len(asr.scheduler._batch) == 0


def test_a_call_has_no_more_rows_than_it_asked_for(asr):
    call, most = Call(2), []
    options = DecodeOptions(sampling=nanoasr.Sampling(max_tokens=12))
    count = lambda: most.append(call.active)  # noqa: E731 (polled after every token; None goes on)
    jobs = [SegmentJob(AUDIO[:SAMPLE_RATE], options, cancelled=count) for _ in range(7)]
    for future in [asr.scheduler.submit(job, call) for job in jobs]:
        assert asr.scheduler.result(future).segment.tokens
    assert max(most) <= 2


@pytest.mark.parametrize(("patience", "together"), [(60.0, 6), (0.0, 1)])
def test_segments_that_come_while_many_are_decoded_wait_a_little_for_others(asr, monkeypatch, patience, together):
    monkeypatch.setattr(scheduler, "_PATIENCE", patience)
    monkeypatch.setattr(scheduler, "MOST_ROWS", 64)
    queue, admitted = scheduler.Scheduler(asr.model_family), []
    admit = queue._batch.admit
    monkeypatch.setattr(queue._batch, "admit", lambda jobs: admitted.append(len(jobs)) or admit(jobs))

    def work():
        queue._scheduled = True  # so that nothing runs but what runs here
        texts = DecodeOptions(sampling=nanoasr.Sampling(max_tokens=400, no_repeat_ngram=1), drafts=False)
        queue.submit_all([SegmentJob(clip(i), texts) for i in range(12)], Call(12))
        queue._work(alone=True)
        for i in range(6):
            queue.submit(SegmentJob(clip(i), texts))
            queue._admit()
        assert len(queue._batch) == 18

    backend.run(work)
    assert admitted == [12, *[together] * (6 // together)]


def test_a_segment_does_not_wait_for_others_for_long(asr, monkeypatch):
    monkeypatch.setattr(scheduler, "_PATIENCE", 0.05)
    queue = scheduler.Scheduler(asr.model_family)
    texts = DecodeOptions(sampling=nanoasr.Sampling(max_tokens=4096, no_repeat_ngram=1), drafts=False)
    call = Call(8)
    futures = queue.submit_all([SegmentJob(AUDIO, texts, cancelled=lambda: done.is_set()) for _ in range(8)], call)
    done = threading.Event()
    quick = DecodeOptions(sampling=nanoasr.Sampling(max_tokens=2))
    assert queue.result(queue.submit(SegmentJob(clip(0), quick))).segment.tokens
    done.set()
    for future in futures:
        queue.result(future)


def test_the_worker_thread_may_transcribe_too(asr):
    assert backend.run(lambda: ids(asr.transcribe(clip(0), vad=False))) == ids(asr.transcribe(clip(0), vad=False))


@pytest.mark.parametrize("companion", ["official", "families/sensevoice"])
def test_another_recognizer_may_draft_and_never_changes_the_text(asr, companion):
    drafter = nanoasr.load(PARITY / companion, dtype="float32")
    alone = asr.transcribe(AUDIO, draft=None, sampling=nanoasr.Sampling(max_tokens=24))
    drafted = asr.transcribe(AUDIO, draft=drafter, sampling=nanoasr.Sampling(max_tokens=24))
    assert ids(drafted) == ids(alone)
    assert alone.timings.drafted == 0 < drafted.timings.drafted
    batch = asr.transcribe_batch([AUDIO, clip(1)], draft=drafter, vad=False)
    assert [ids(t) for t in batch] == [ids(asr.transcribe(x, vad=False)) for x in (AUDIO, clip(1))]


def test_a_draft_of_another_kind_is_refused(asr):
    with pytest.raises(nanoasr.NanoASRError, match="draft='fast': use"):
        asr.transcribe(AUDIO, draft="fast")
