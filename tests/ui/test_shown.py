"""What browsers keep is not trusted."""

import base64
import gzip
import json

import pytest

from nanoasr.errors import OptionError
from nanoasr.results.transcript import Transcript
from nanoasr.ui.shown import Shown, pack, unpack


def test_a_transcript_survives_the_browser_but_only_recordings_of_the_page_are_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    secret = tmp_path / "secret.wav"
    mine = tmp_path / "uploads/some/mine.wav"
    mine.parent.mkdir(parents=True)
    for path in (secret, mine):
        path.write_bytes(b"x")
    found = Transcript("hello", (), None, 1.0, name="mine.wav")
    for path, opened in ((mine, str(mine)), (secret, None), (tmp_path / "uploads/some/../../secret.wav", None)):
        packed = json.loads(pack(Shown(str(path), found)))["packed"]
        assert unpack(packed) == Shown(opened, found)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"path": 1, "transcript": "x"}', b"\xff"])
def test_what_cannot_be_read_is_refused(content):
    with pytest.raises(OptionError):
        unpack(base64.b64encode(gzip.compress(content)).decode())
    with pytest.raises(OptionError):
        unpack("no base64")
