"""Results in notebooks."""

import json
import re
from pathlib import Path

import nanoasr
from nanoasr.audio import load_audio

NUMBER = Path(__file__).parents[2] / "assets/speech/kokoro-number.wav"


def test_a_transcript_shows_its_tokens_their_alternatives_and_a_player():
    found = nanoasr.load().transcribe(NUMBER, alternatives=True)
    shown = found._repr_html_()
    assert shown.count('class="token"') == len(found.tokens)
    assert "alternatives:" in shown and 'data-start="' in shown
    assert 'src="data:audio/x-wav;base64,UklGR' in shown or 'src="data:audio/wav;base64,UklGR' in shown
    assert str(found) == found.text  # plain where there is no HTML
    assert "audio" not in json.loads(found.to_json())


def test_a_recording_that_is_gone_or_no_file_has_no_player():
    found = nanoasr.load().transcribe(load_audio(NUMBER).samples)
    assert "<audio" not in found._repr_html_() and "token" in found._repr_html_()


def test_an_inspection_shows_the_shapes_of_its_stages():
    x = nanoasr.load().inspect(NUMBER)
    assert f"<th>encoded</th><td>{list(x.encoded.shape)}</td>" in x._repr_html_()


def test_a_live_session_updates_its_output_in_place(monkeypatch):
    import IPython.display

    class Output:
        def update(self, html) -> None:
            updates.append(html.data)

    updates, shown = [], []
    monkeypatch.setattr(IPython.display, "display", lambda html, display_id: shown.append(html.data) or Output())
    with nanoasr.load().stream() as session:
        session._ipython_display_()
        samples = load_audio(NUMBER).samples
        for start in range(0, len(samples), 8000):
            session.push(samples[start : start + 8000])
        session.finish()
    assert len(shown) == 1 and len(updates) > 3
    assert "seven three one" in re.sub("<[^>]*>", "", updates[-1])
