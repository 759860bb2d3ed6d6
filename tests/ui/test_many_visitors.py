"""Many visitors, long recordings, closed tabs, memory, and time. Limits are several times what was measured."""

import os
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pages import CLIP, FORGET, draw_at_random, streamed, upload
from running import ROOT, App, file_data, read_wav, upload_file, write_wav

from nanoasr.ui.jobs import FairQueue, Update
from nanoasr.ui.transcribe import progress


@pytest.fixture(scope="module")
def clip(app):
    return upload_file(app, "clip.wav", CLIP.read_bytes())


def transcribe(app, path: str, **options: object) -> str:
    """As a program without `gradio_client` does; every request is another visitor's."""
    values = {"temperature": 0, "max_tokens": 512} | options
    data = [file_data(path), "auto", "", True, True, values["temperature"], 0, 1, 0, 1, 0, values["max_tokens"], 1]
    answer = app.call("transcribe", data)
    assert "event: complete" in answer, answer
    return answer


def memory(app) -> float:
    """Of the app's process, in MiB."""
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(app.process.pid)])) / 1024


def work_done(app) -> float:
    """Seconds of processor time that the app has used."""
    spent = Path(f"/proc/{app.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")


def test_twenty_visitors_at_once_are_answered_in_their_turn(app, clip):
    def seconds(began: float) -> float:
        transcribe(app, clip, temperature=1, max_tokens=20)
        return time.monotonic() - began

    def one_by_one() -> list[float]:
        return [seconds(time.monotonic()) for _ in range(10)]

    def at_once() -> list[float]:
        began = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            return sorted(pool.map(lambda _: seconds(began), range(20)))

    measured = []
    for _ in range(4):  # others that use the processor come and go: one time of four must be without them
        before, ends, after = one_by_one(), at_once(), one_by_one()
        alone = statistics.mean(before + after)  # 0.08 on two idle cores, where the last of twenty takes 1.4
        measured.append((alone, ends))
        if all(end < 10 * alone * place for place, end in enumerate(ends, 1)):
            return
    raise AssertionError(measured)


def test_memory_does_not_grow_with_the_number_of_requests(app, clip):
    with ThreadPoolExecutor(4) as pool:  # Gradio keeps the pages of a hundred visitors
        list(pool.map(lambda _: transcribe(app, clip), range(120)))
    before = memory(app)
    for _ in range(60):
        transcribe(app, clip)
    assert memory(app) - before < 5  # were pages kept for good, it would be 11


def test_a_short_recording_does_not_wait_for_a_long_one(app, clip, tmp_path):
    long = write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45))
    path = upload_file(app, "long.wav", long.read_bytes())
    ended = {}

    def work(name: str, path: str) -> None:
        transcribe(app, path, temperature=1, max_tokens=100)
        ended[name] = time.monotonic()

    others = [threading.Thread(target=work, args=(f"long {i}", path)) for i in range(3)]
    for thread in others:
        thread.start()
    time.sleep(0.5)
    work("short", clip)
    for thread in others:
        thread.join()
    assert min(ended, key=ended.get) == "short"


def test_a_visitor_sees_the_place_in_line_and_gets_a_turn(app, open_page, tmp_path):
    long = upload_file(app, "long.wav", write_wav(tmp_path / "long.wav", np.tile(read_wav(CLIP), 45)).read_bytes())
    others = [
        threading.Thread(target=transcribe, args=(app, long), kwargs={"temperature": 1, "max_tokens": 80})
        for _ in range(4)
    ]
    page = open_page()
    draw_at_random(page, most_tokens=5)
    for other in others:
        other.start()
    time.sleep(1)
    page.evaluate(FORGET)
    upload(page, write_wav(tmp_path / "mine.wav", np.tile(read_wav(CLIP), 45)))
    page.wait_for_selector("#status :text('In line: 1 other recording before this one')")
    page.wait_for_selector("#status .message.done, #status .message.warning")
    for other in others:
        other.join()


def test_one_in_line_sees_how_many_are_before_it():
    waiting, seen = FairQueue(at_once=2), []
    with waiting.place(True) as first, waiting.place(True), waiting.place(False) as short:
        with waiting.place(True) as third, waiting.place(True) as fourth:
            seen += [first(0), third(0), fourth(0), short(0)]
        with waiting.place(True) as third:
            seen.append(third(0.01))
    assert seen == [0, 1, 2, 0, 1]


def test_the_page_tells_the_place_in_line():
    assert "In line: 1 other recording before this one" in progress(Update("", 0.0, before=1), 70.0, 0.0)
    assert "In line: 2 other recordings before" in progress(Update("", 0.0, before=2), 70.0, 0.0)


def test_the_page_tells_the_time_left():
    assert "30 of 120 s, about 9 s left" in progress(Update("", 30.0), 120.0, 3.0)
    assert "left" not in progress(Update("", 30.0), None, 3.0)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the processor time is read from /proc")
def test_a_closed_tab_frees_its_job(app, open_page, tmp_path):
    transcribing(open_page, tmp_path).close()
    wait_until_idle(app)


def test_a_reload_in_the_middle_of_a_job_frees_it_and_the_page_works(app, open_page, tmp_path):
    page = transcribing(open_page, tmp_path)
    page.reload()
    page.wait_for_selector("#text .paragraph, #status .message.warning")  # the first example
    page.problems.clear()  # what the page that was left said of its broken connection
    wait_until_idle(app)
    page.evaluate(FORGET)
    upload(page, CLIP)
    page.wait_for_selector("#status .message.done, #status .message.warning")
    page.wait_for_selector("#text .paragraph")
    assert page.problems == []


def transcribing(open_page, folder: Path):
    """A page in the middle of a long recording."""
    page = open_page()
    draw_at_random(page, most_tokens=2048)
    upload(page, write_wav(folder / "long.wav", np.tile(read_wav(CLIP), 50)))
    streamed(page, 20)
    return page


def wait_until_idle(app) -> None:
    for _ in range(40):
        before = work_done(app)
        time.sleep(0.5)
        if work_done(app) - before < 0.1:
            return
    raise AssertionError("the app is still at work for a visitor who has gone")


def test_a_page_can_be_used_soon_after_the_start(open_page, tmp_path):
    began = time.monotonic()
    app = App(tmp_path)
    try:
        page = open_page(url=app.url)
        page.wait_for_selector("#text .paragraph")  # the first example
        assert time.monotonic() - began < 16  # 6 on two idle cores
        page.evaluate(FORGET)
        upload(page, ROOT / "assets/speech/jfk.flac")
        page.wait_for_selector("#status .message.done, #status .message.warning")
        page.wait_for_timeout(1000)
        taken = []
        for _ in range(3):
            page.evaluate(FORGET)
            began = time.monotonic()
            page.click("#transcribe")
            page.wait_for_selector("#status .message.done, #status .message.warning")
            page.wait_for_selector("#timeline .main-svg")
            page.wait_for_selector("#timings .main-svg")
            taken.append(time.monotonic() - began)
        assert min(taken) < 3 and taken[0] < 6, taken  # 1.0 on two idle cores, the first time too
    finally:
        app.close()
