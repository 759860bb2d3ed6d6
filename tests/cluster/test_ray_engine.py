"""The Ray engine on a real cluster of two nodes on this machine: the same rows, whatever leaves or dies."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cluster.rows import rounded
from commands import ENVIRONMENT, run

import nanoasr
from nanoasr.audio import load_audio
from nanoasr.cluster import Input, Settings
from nanoasr.cluster.rows import Row, make_row
from nanoasr.resources import assets_folder

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

SPEECH = assets_folder() / "speech"
DIGITS = sorted((SPEECH / "digits").glob("*.opus"))
COUNT = int(os.environ.get("NANOASR_TEST_RECORDINGS", 40))


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of two CPUs each; this process is connected as the driver."""
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = ENVIRONMENT["PYTHONPATH"]  # nodes inherit it
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 200 * 2**20})
    cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    paths = [folder / f"{number:03}.opus" for number in range(COUNT)]
    for number, path in enumerate(paths):
        path.symlink_to(DIGITS[number % len(DIGITS)])
    return paths


@pytest.fixture(scope="module")
def expected(recordings) -> dict[str, dict]:
    results = dict(zip(DIGITS, nanoasr.load().transcribe_batch(DIGITS[:COUNT]), strict=False))
    sources = {path: results[DIGITS[number % len(DIGITS)]] for number, path in enumerate(recordings)}
    return {str(path): rounded(make_row(Input(str(path)), found).to_dict()) for path, found in sources.items()}


def read(folder: Path) -> list[dict]:
    return [rounded(json.loads(line)) for path in sorted(folder.glob("part-*.jsonl")) for line in path.open()]


def worker_pids() -> list[int]:
    """The actors' processes, which are grandchildren of this one."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"MapWorker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it ended
            continue
    return [pid for pid in found if parents.get(parents[pid]) == os.getpid()]


def test_every_row_is_that_of_transcribe_batch_though_a_worker_dies_and_a_node_leaves(cluster, recordings, expected):
    from nanoasr.cluster.ray_engine import RayOptions, ray_engine

    bad = Input(str(recordings[0].parent / "broken.wav"))
    Path(bad.source).write_bytes(b"RIFF nonsense")
    inputs = [bad, *(Input(str(path)) for path in recordings)]
    leaving = [node for node in cluster.worker_nodes]
    rows: list[Row] = []
    for row in ray_engine(Settings(), RayOptions(workers=2))(inputs):
        rows.append(row)
        if len(rows) == COUNT // 5:
            pid = worker_pids()[0]
            os.kill(pid, signal.SIGKILL)
        elif len(rows) == COUNT // 2 and leaving:
            cluster.remove_node(leaving.pop(), allow_graceful=False)
    assert len(rows) == COUNT + 1
    [failed] = [row for row in rows if row.error]
    assert failed.source == bad.source and "broken.wav" in failed.error
    assert {row.source: rounded(row.to_dict()) for row in rows if not row.error} == expected


def test_a_long_recording_is_cut_and_shared_out_with_the_same_row(cluster, tmp_path):
    from nanoasr.cluster import workers
    from nanoasr.cluster.ray_engine import RayOptions, ray_engine

    names = ("librivox-0870.wav", "jfk.flac", "kokoro-number.wav", "LJ002-0020.wav")
    pause = np.zeros(12_000, np.float32)
    samples = np.concatenate([part for name in names for part in (load_audio(SPEECH / name).samples, pause)])
    soundfile.write(tmp_path / "long.wav", samples, 16_000)
    long = Input(str(tmp_path / "long.wav"))
    assert len(list(workers.CutLongRecordings(5.0, True, None)(workers.work_row(0, long)))) >= 3
    [row] = ray_engine(Settings(), RayOptions(workers=1, split_seconds=5.0))([long])
    [whole] = nanoasr.load().transcribe_batch([long.source])
    assert len(whole.segments) >= 3
    assert rounded(row.to_dict()) == rounded(make_row(long, whole).to_dict())


def test_a_driver_that_was_killed_is_continued_with_the_same_command(cluster, recordings, expected, tmp_path):
    code = f"""
import os, signal
from nanoasr.cluster import Input, Job, OutputFolder, Settings
from nanoasr.cluster.ray_engine import RayOptions, ray_engine
seen = []
def on_row(row):
    seen.append(row)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
with OutputFolder({str(tmp_path)!r}, Settings().to_dict(), part_rows=1) as output:
    inputs = [Input(path) for path in {list(map(str, recordings[:6]))!r}]
    Job(inputs, output).run(ray_engine(Settings(), RayOptions({cluster.address!r}, workers=1)), on_row)
"""
    killed = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = {row["source"] for row in read(tmp_path)}
    assert len(before) == 3
    assert run("batch", *recordings[:6], "--out", tmp_path, "--engine", "ray", "--workers", "1") == 0
    rows = read(tmp_path)
    assert len(rows) == 6 and {row["source"]: row for row in rows} == {str(p): expected[str(p)] for p in recordings[:6]}


def test_more_gpus_than_the_cluster_has_are_wrong_usage(cluster, tmp_path, capsys):
    status = run("batch", DIGITS[0], "--out", tmp_path, "--engine", "ray", "--gpus-per-worker", "1", "--workers", "99")
    assert status == 2
    assert "99 workers with 1 GPUs each: the cluster has 0 GPUs" in capsys.readouterr().err


def test_a_model_that_no_worker_can_load_is_one_clear_error(cluster, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    model = ("--model", tmp_path / "empty")
    assert run("batch", DIGITS[0], "--out", tmp_path / "out", "--engine", "ray", "--workers", "1", *model) == 2
    assert "Ray cannot start workers: " in capsys.readouterr().err
