"""Manifests, files and URIs name recordings; every row that cannot be used is named."""

import json

import numpy as np
import pytest
from commands import run

from nanoasr.audio import load_audio
from nanoasr.cli.batch import find_inputs
from nanoasr.cluster import Input, is_manifest, read_manifest
from nanoasr.cluster.inputs import open_recording
from nanoasr.errors import AudioError, OptionError
from nanoasr.resources import assets_folder

JFK = assets_folder() / "speech" / "jfk.flac"


def test_json_lines_in_the_forms_of_nemo_funasr_and_lhotse(tmp_path):
    cut = {
        "start": 2.0,
        "duration": 3.0,
        "recording": {"duration": 9.0, "sources": [{"type": "file", "source": "d.wav"}]},
        "supervisions": [{"text": "four"}],
    }
    rows = [
        {"audio": "a.wav", "text": "one"},
        {"audio_filepath": "/b.wav", "duration": 4, "offset": 1.5},
        {"key": "c", "source": "s3://bucket/c.wav", "target": "three"},
        cut,
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n\n".join(map(json.dumps, rows)))
    assert read_manifest(str(manifest)) == (
        [
            Input(str(tmp_path / "a.wav"), "one"),
            Input("/b.wav", duration=4, offset=1.5),
            Input("s3://bucket/c.wav", "three"),
            Input(str(tmp_path / "d.wav"), "four", 3.0, 2.0),
        ],
        [],
    )


def test_csv_and_parquet_hold_the_same_columns(tmp_path):
    (tmp_path / "m.csv").write_text("audio,text,duration\n/a.wav,one,2.5\n/b.wav,,\n")
    found, problems = read_manifest(str(tmp_path / "m.csv"))
    assert found == [Input("/a.wav", "one", 2.5), Input("/b.wav", "")] and not problems

    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    table = pa.table({"audio": ["/a.wav", "/b.wav"], "text": ["one", None], "duration": [2.5, None]})
    parquet.write_table(table, tmp_path / "m.parquet")
    assert read_manifest(str(tmp_path / "m.parquet")) == ([Input("/a.wav", "one", 2.5), Input("/b.wav")], [])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"text": "x"}', 'no "audio"'),
        ('{"audio": 3}', 'no "audio"'),
        ('{"audio": "a.wav", "text": 3}', "not a string"),
        ('{"audio": "a.wav", "offset": -1}', '"offset" is -1'),
        ('{"audio": "a.wav", "duration": NaN}', '"duration" is nan'),
        ('{"audio": "a.wav", "duration": 0}', '"duration" is 0'),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, line, complaint):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"audio": "/a.wav"}\n' + line + "\n")
    found, [problem] = read_manifest(str(manifest))
    assert found == [Input("/a.wav")]
    assert problem.startswith(f"{manifest}:2: ") and complaint in problem


@pytest.mark.parametrize("name", ["none.jsonl", "none.csv", "none.parquet"])
def test_a_missing_manifest_is_wrong_usage(tmp_path, name, capsys):
    assert run("batch", tmp_path / name, "--out", tmp_path / "out") == 2
    assert name in capsys.readouterr().err


def test_a_damaged_parquet_file_is_one_clear_error(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(OptionError, match="not a Parquet file"):
        read_manifest(str(tmp_path / "m.parquet"))


def test_an_offset_gives_exactly_these_samples():
    whole = load_audio(JFK).samples
    part = open_recording(Input(str(JFK), duration=2.0, offset=1.25))
    assert np.array_equal(part, whole[20_000:52_000])
    rest = open_recording(Input(str(JFK), offset=9.0))
    assert np.array_equal(rest, whole[144_000:])


def test_an_offset_after_the_end_is_an_error_that_says_so():
    with pytest.raises(AudioError, match=r"jfk.flac: has only 11.00 s; the part begins at 60 s"):
        open_recording(Input(str(JFK), offset=60.0))


def test_uris_of_a_folder_a_pattern_and_a_file_name_the_same_recordings(tmp_path):
    pytest.importorskip("pyarrow")
    for name in ("a.wav", "b.wav", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    names = [f"file://{tmp_path}/{name}" for name in ("a.wav", "b.wav", "c.txt")]
    assert find_inputs([f"file://{tmp_path}"]) == (list(map(Input, names[:2])), []), "recordings only"
    assert find_inputs([f"file://{tmp_path}/*.wav"]) == (list(map(Input, names[:2])), [])
    assert find_inputs([names[0]]) == ([Input(names[0])], [])
    assert find_inputs([f"file://{tmp_path}/none"]) == ([], [f"file://{tmp_path}/none: no recordings there"])


def test_a_file_system_of_fsspec_can_be_listed_and_read():
    pytest.importorskip("pyarrow")
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/talks/jfk.flac", JFK.read_bytes())
    [item], problems = find_inputs(["memory://talks"])
    assert item.source.endswith("talks/jfk.flac") and not problems
    assert np.array_equal(load_audio(open_recording(item)).samples, load_audio(JFK).samples)


def test_object_storage_is_listed_and_read_in_few_requests(monkeypatch, caplog):
    moto = pytest.importorskip("moto.server", reason='needs pip install "moto[server]"')
    fs = pytest.importorskip("pyarrow.fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, "true")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
        storage, _ = fs.FileSystem.from_uri("s3://talks" + options)
        storage.create_dir("talks")
        with storage.open_output_stream("talks/day/jfk.flac") as file:
            file.write(JFK.read_bytes())
        assert find_inputs([f"s3://talks/day{options}"]) == find_inputs([f"s3://talks/*/*.flac{options}"])
        [item], problems = find_inputs([f"s3://talks/day{options}"])
        with caplog.at_level("INFO", "werkzeug"):
            samples = load_audio(open_recording(item)).samples
    finally:
        server.stop()
    assert item.source == f"s3://talks/day/jfk.flac{options}" and not problems
    assert np.array_equal(samples, load_audio(JFK).samples)
    assert 0 < sum(" 206 " in line for line in caplog.messages) <= 3  # parts of the file


def test_an_unknown_scheme_is_one_clear_error():
    pytest.importorskip("pyarrow")
    with pytest.raises(OptionError, match="nonsense://x/y: neither pyarrow"):
        find_inputs(["nonsense://x/y"])


def test_a_manifest_is_known_by_its_name_also_before_options_of_an_object_store():
    assert is_manifest("s3://talks/m.jsonl?endpoint_override=127.0.0.1:5000&scheme=http")
    assert not is_manifest("s3://talks/m.wav?scheme=.jsonl")
