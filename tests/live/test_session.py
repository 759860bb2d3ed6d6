"""Live sessions, on the bundled checkpoint (its real words) and on the parity network (its random ones)."""

import os
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import HERE, PARITY

import nanoasr
from nanoasr import backend
from nanoasr.audio.files import load_audio
from nanoasr.audio.vad import Segmenter, VadOptions
from nanoasr.errors import AudioError, OptionError
from nanoasr.live.session import LiveOptions
from nanoasr.results.words import split_words

RATE = 16000
ASSETS = HERE.parent / "assets" / "speech"
SILENCE = np.zeros(RATE, np.float32)


@pytest.fixture(scope="module")
def asr():
    return nanoasr.load(dtype="float32")


@pytest.fixture(scope="module")
def parity():
    return nanoasr.load(PARITY / "official", dtype="float32")


@pytest.fixture(scope="module")
def number():
    return load_audio(ASSETS / "kokoro-number.wav").samples


@pytest.fixture(scope="module")
def talk(number):
    """18 s: longer than a segment, with pauses."""
    command = load_audio(ASSETS / "kokoro-command.wav").samples
    parts = [SILENCE, number, SILENCE, command, SILENCE, number, SILENCE, command, SILENCE]
    return np.resize(np.concatenate(parts), 18 * RATE)


def listen(asr, samples, sizes=(1600,), **more):
    """Every update and the transcript of samples pushed in chunks of these sizes, over and over."""
    updates = []
    session = asr.stream(on_update=updates.append, **more)
    at = turn = 0
    while at < len(samples):
        session.push(samples[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    return updates, session.finish()


@pytest.fixture(scope="module")
def heard(asr, talk):
    """The talk's updates and transcript, with the usual options."""
    return listen(asr, talk, (4000,))


def told(updates):
    """Updates without what depends on the clock; whether drafts pay does, too."""
    return [
        (u.committed, u.tentative, [(s.text, s.start, s.end, s.revised) for s in u.segments], u.revisions, u.start,
         replace(u.latency, work=0, update=0, drafted=0, accepted=0, steps=0))
        for u in updates
    ]  # fmt: skip


def spans(transcript):
    return [(s.text, s.start, s.end, [t.id for t in s.tokens]) for s in transcript.segments]


def test_text_appears_while_it_is_spoken_and_ends_as_transcribe_gives_it(asr, number):
    updates, transcript = listen(asr, number)
    assert transcript.text == asr.transcribe(number).text
    assert spans(transcript) == spans(asr.transcribe(number))
    shown = [u.committed + u.tentative for u in updates if u.start is not None]
    assert len(shown) >= 3
    assert any(u.committed for u in updates)
    assert updates[-1].committed == updates[-1].tentative == ""


def test_segments_of_a_long_recording_are_those_of_transcribe(asr, talk, heard):
    updates, transcript = heard
    whole = asr.transcribe(talk)
    assert len(whole.segments) >= 3
    assert spans(transcript) == spans(whole)
    assert transcript.text == whole.text
    assert [s.text for u in updates for s in u.segments] == [s.text for s in whole.segments]
    times = [(t.start, t.end) for s in transcript.segments for t in s.tokens]
    assert times == [(t.start, t.end) for s in whole.segments for t in s.tokens]


def test_each_finished_segment_is_what_transcribe_gives_for_its_sound(asr, talk, heard):
    for segment in heard[1].segments:
        sound = talk[round(segment.start * RATE) : round(segment.end * RATE)]
        assert asr.transcribe(sound, vad=False).text == segment.text


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 20000), min_size=1, max_size=5))
def test_any_chunking_gives_the_same_updates(parity, number, sizes):
    samples = np.concatenate([SILENCE[:5000], number[: 2 * RATE], SILENCE])
    options = LiveOptions(interval=0.3, confidence=0)
    if min(sizes) < 40:
        sizes = [size + 40 for size in sizes]
    one, whole = listen(parity, samples, (len(samples),), options=options)
    other, pieces = listen(parity, samples, sizes, options=options)
    assert told(other) == told(one)
    assert spans(pieces) == spans(whole)


def test_ten_millisecond_chunks_of_another_rate_give_what_one_chunk_gives(asr, number):
    fast = np.repeat(number, 3)  # 48 kHz, crudely
    one = listen(asr, fast, (len(fast),), sample_rate=48000)
    other = listen(asr, fast, (480,), sample_rate=48000)
    assert told(other[0]) == told(one[0])
    assert other[1].text == one[1].text


@pytest.fixture(scope="module")
def hasty(asr, talk):
    """The same, where words are committed as soon as two hypotheses have them."""
    return listen(asr, talk, options=LiveOptions(confidence=0, hold=0))


@pytest.mark.parametrize("which", ["heard", "hasty"])
def test_committed_text_stands_in_whole_words_while_its_segment_is_open(request, which):
    before, start = "", None
    for update in request.getfixturevalue(which)[0]:
        if update.start == start:
            assert update.committed.startswith(before)
        words = [word.text for word in split_words(update.committed)]
        assert [word.text for word in split_words(update.committed + update.tentative)][: len(words)] == words
        before, start = update.committed, update.start


def test_what_was_committed_is_what_comes_out_or_the_segment_says_so(hasty):
    committed, segments = {}, {}
    revisions = 0
    for update in hasty[0]:
        for segment in update.segments:
            segments[segment.start] = segment
        revisions += len(update.revisions)
        if update.committed:
            committed[update.start] = update.committed
    assert committed
    for start, text in committed.items():
        assert segments[start].revised == (not segments[start].text.startswith(text))
    assert revisions == sum(segment.revised for segment in segments.values())


def test_drafts_save_most_of_the_decoding(heard):
    latency = heard[0][-1].latency
    assert latency.passes > 10
    assert latency.steps <= 0.3 * latency.tokens
    assert latency.accepted <= latency.drafted


def times_due(samples, every):
    """How often a hypothesis is due: at these multiples of a tenth of a second while somebody speaks."""
    segmenter, due = Segmenter(VadOptions()), 0
    for hop in range(1, len(samples) // (RATE // 10) + 1):
        segmenter.push(samples[(hop - 1) * RATE // 10 : hop * RATE // 10])
        due += segmenter.speaking and hop % every == 0
    return due


@pytest.mark.parametrize("interval", [0.3, 0.5, 1.0])
def test_a_hypothesis_is_made_whenever_one_is_due(asr, number, interval):
    latency = listen(asr, number, options=LiveOptions(interval=interval))[0][-1].latency
    assert (latency.passes, latency.skipped) == (times_due(number, round(interval * 10)), 0)


def test_hypotheses_that_are_left_out_are_counted(asr, number):
    session = asr.stream(options=LiveOptions(realtime=True))
    session.push(number)
    assert session.latency.skipped > 0
    assert session.latency.passes + session.latency.skipped == times_due(number, 5)


def test_every_token_was_guessed_right_or_took_a_step(asr, number):
    latency = listen(asr, number)[0][-1].latency
    assert latency.tokens == latency.accepted + latency.steps
    assert latency.drafted >= latency.accepted > latency.steps


def test_words_are_committed_soon_after_they_end(heard):
    late = [seconds for update in heard[0] for seconds in update.latency.commit]
    assert len(late) > 5
    assert min(late) >= 0.4
    assert float(np.median(late)) < 1.5


def test_the_first_text_comes_within_a_second_of_speech(asr, number):
    first = next(u for u in listen(asr, np.concatenate([SILENCE, number]))[0] if u.committed or u.tentative)
    assert first.latency.first_text <= 1.0


@pytest.mark.slow
def test_an_hour_of_silence_brings_nothing_and_keeps_nothing(asr):
    session, minute = asr.stream(), np.zeros(60 * RATE, np.float32)
    assert session.push(minute) is None
    tracemalloc.start()
    try:
        for _ in range(59):
            assert session.push(minute) is None
            assert len(session._held) < RATE
        assert tracemalloc.get_traced_memory()[0] < 300_000  # what a minute more would not change
    finally:
        tracemalloc.stop()
    assert session.latency.passes == 0
    transcript = session.finish()
    assert (transcript.text, transcript.segments, transcript.duration) == ("", (), 3600.0)


def resident_megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.skipif(sys.platform != "linux" or not backend.on_cpu, reason="about malloc, where MLX's arrays are in it")
def test_what_is_free_in_the_heap_is_given_back_when_a_segment_ends(asr, number):
    asr.transcribe(number)  # what that needs is in memory from now on
    blocks = [np.ones(8000) for _ in range(2000)]  # 128 MB in pieces that malloc keeps in its heap
    held, last = resident_megabytes(), blocks[-1]
    del blocks
    with asr.stream() as session:
        updates = [session.push(samples) for samples in (number, SILENCE, SILENCE)]
        assert any(update and update.segments for update in updates)
        assert resident_megabytes() < held - 60
    assert last[0] == 1


def test_no_speech_is_lost_or_said_twice_over_many_segments(asr, number):
    gap = np.zeros(RATE, np.float32)
    session, segments, held = asr.stream(), [], []
    rng = np.random.default_rng(0)
    sound = np.concatenate([np.concatenate([number, gap]) for _ in range(4)])
    at = 0
    while at < len(sound):
        size = int(rng.integers(160, 30000))
        update = session.push(sound[at : at + size])
        segments += update.segments if update else []
        held.append(len(session._held))
        at += size
    assert spans(session.finish()) == [(s.text, s.start, s.end, [t.id for t in s.tokens]) for s in segments]
    parts = len(asr.transcribe(np.concatenate([number, SILENCE] * 4)).segments) // 4
    assert len(segments) == 4 * parts
    assert len({segment.text for segment in segments}) <= 2 * parts
    assert max(held) < 16 * RATE


def test_a_speech_without_a_pause_is_cut_and_nothing_is_lost(parity, number):
    loop = np.resize(number[: 2 * RATE], 12 * RATE)
    options = LiveOptions(vad=VadOptions(max_segment=4))
    transcript = listen(parity, loop, (5000,), options=options)[1]
    assert spans(transcript) == spans(parity.transcribe(loop, vad=options.vad))
    assert len(transcript.segments) >= 3


def test_realtime_sessions_leave_out_what_comes_too_late(asr, number):
    updates = []
    session = asr.stream(options=LiveOptions(realtime=True), on_update=updates.append)
    session.push(number)
    assert session.finish().text == asr.transcribe(number).text
    assert updates[-1].latency.skipped > 0
    assert updates[-1].latency.passes <= 1


@pytest.mark.slow
def test_realtime_sessions_do_not_queue_work_that_a_slow_model_cannot_do(asr, number, monkeypatch):
    session = asr.stream(options=LiveOptions(realtime=True))
    guess = session._decode_open
    monkeypatch.setattr(session, "_decode_open", lambda segment: (time.sleep(1.0), guess(segment))[1])
    start = time.monotonic()
    for at in range(0, len(number), 4000):
        session.push(number[at : at + 4000])
        time.sleep(max(0, (at + 4000) / RATE - (time.monotonic() - start)))
    assert time.monotonic() - start < len(number) / RATE + 3
    assert session.latency.skipped > 0


def test_push_tells_of_every_commitment_that_its_samples_brought(asr, talk):
    told, session = [], asr.stream(on_update=lambda update: told.extend(update.latency.commit))
    updates = [session.push(talk[at : at + 48000]) for at in range(0, len(talk), 48000)]
    pushed = [late for update in updates if update for late in update.latency.commit]
    assert len(pushed) > 3
    assert pushed == told[: len(pushed)]


def test_closing_while_it_finishes_is_an_error_and_no_half_transcript(asr, number):
    session = asr.stream()
    session.push(number)
    session._closed.set()
    with pytest.raises(OptionError, match="closed"):
        session.finish()


def test_closing_while_it_decodes_ends_it_without_a_word(asr, talk):
    updates = []
    session = asr.stream(on_update=updates.append)
    thread = threading.Thread(target=session.push, args=(talk,))
    thread.start()
    while not updates:
        time.sleep(0.01)
    session.close()
    count = len(updates)
    thread.join()
    assert len(updates) <= count + 1
    assert session.push(talk) is None
    assert len(session._held) == 0
    with pytest.raises(OptionError, match="closed"):
        session.finish()


def test_sessions_side_by_side_do_not_mix(asr, number):
    command = load_audio(ASSETS / "kokoro-command.wav").samples
    alone = [listen(asr, x) for x in (number, command)]
    results = {}

    def speak(i, samples):
        results[i] = listen(asr, samples, (1600,))

    threads = [threading.Thread(target=speak, args=(i, (number, command)[i % 2])) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert told(results[i][0]) == told(alone[i % 2][0])
        assert spans(results[i][1]) == spans(alone[i % 2][1])


def test_finish_may_be_asked_twice(asr, number):
    with asr.stream() as session:
        session.push(number)
        assert session.finish() is session.finish()
    assert session.push(number) is None


def test_less_than_a_frame_is_an_empty_transcript(asr):
    session = asr.stream()
    session.push(np.zeros(100, np.float32))
    assert session.finish().text == ""


def test_words_have_times_and_the_transcript_can_be_saved(asr, number, tmp_path):
    transcript = listen(asr, number)[1]
    words = split_words(transcript.segments[0].text, transcript.segments[0].tokens)
    assert all(word.start < word.end for word in words)
    transcript.save(tmp_path / "live.srt")
    assert "-->" in (tmp_path / "live.srt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (np.zeros((2, 100), np.float32), "mono"),
        (np.array([np.nan], np.float32), "not numbers"),
        (np.array(["a"]), "mono"),
    ],
)
def test_what_is_no_mono_sound_is_refused(asr, samples, problem):
    with pytest.raises(AudioError, match=problem):
        asr.stream().push(samples)


def within(seconds, work, *args):
    """The result of some work on another thread; a failure if it does not end in time."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work(*args)), daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it hangs"
    return results[0]


def test_a_session_may_be_closed_by_its_own_callback(asr, number):
    updates = []

    def on_update(update):
        updates.append(update)
        session.close()

    session = asr.stream(on_update=on_update)
    assert within(60, session.push, number) is None
    assert len(updates) == 1 and len(session._held) == 0
    with pytest.raises(OptionError, match="closed"):
        session.finish()


def test_a_session_may_be_closed_by_its_own_callback_while_it_finishes(asr, number):
    session = asr.stream(on_update=lambda update: update.segments and session.close())

    def finish():
        session.push(number)
        with pytest.raises(OptionError, match="closed"):
            session.finish()
        return True

    assert within(60, finish)


@pytest.mark.parametrize("method", ["push", "finish"])
def test_a_callback_that_pushes_or_finishes_its_own_session_gets_an_error(asr, number, method):
    errors = []

    def on_update(update):
        with pytest.raises(OptionError, match=rf"on_update called {method}\(\)") as caught:
            getattr(session, method)(*[SILENCE][: method == "push"])
        errors.append(caught.value)

    session = asr.stream(on_update=on_update)
    assert within(60, session.push, number) is not None
    assert errors
    session._on_update = None
    assert session.finish().text == asr.transcribe(number).text


def test_the_work_of_a_session_is_counted_once(asr, number):
    start = time.perf_counter()
    transcript = listen(asr, number)[1]
    assert 0 < transcript.timings.total <= time.perf_counter() - start
    assert transcript.timings.steps + transcript.timings.accepted == transcript.timings.tokens > 0


@pytest.mark.parametrize("options", [5, 0, True, "fast", {"interval": 1}])
def test_options_of_another_type_are_refused(asr, options):
    with pytest.raises(OptionError, match=r"options=.*LiveOptions"):
        asr.stream(options=options)


def test_a_callback_that_cannot_be_called_is_refused(asr):
    with pytest.raises(OptionError, match="on_update=5"):
        asr.stream(on_update=5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval": 0}, {"agreement": 0}, {"hold": -1}, {"confidence": 2}, {"interval": True}, {"interval": "1"},
        {"agreement": True}, {"agreement": 2.5}, {"hold": None}, {"confidence": True}, {"realtime": 1}, {"vad": True},
        {"hold": float("nan")},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        LiveOptions(**wrong)
