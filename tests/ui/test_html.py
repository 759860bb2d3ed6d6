from nanoasr.results.transcript import Alternative, Segment, Token, Transcript
from nanoasr.ui import html

NASTY = "<img src=x onerror=alert(1)>\"'&\x00"


def transcript() -> Transcript:
    token = Token(7, NASTY, -0.5, 0.0, 0.5, (Alternative(8, NASTY, -1.0), Alternative(9, "\ufffd", float("-inf"))))
    return Transcript(NASTY, (Segment(NASTY, 0.0, 1.0, (token,)),), None, 1.0)


def test_nothing_from_a_model_a_file_or_a_visitor_becomes_markup():
    written = [
        html.tokens(transcript()),
        html.segments(transcript()),
        html.message(NASTY, "error"),
        html.progress(NASTY, 0.5),
        html.player(f"/tmp/gradio/{NASTY}.wav"),
        html.table((NASTY,), [(NASTY, NASTY)]),
        html.prompt([(1, NASTY)], 3, [(2, NASTY)]),
    ]
    for page in written:
        assert "<img" not in page and 'alert(1)>"' not in page


def test_a_token_shows_its_probability_time_and_alternatives():
    shown = html.tokens(transcript())
    assert 'data-start="0.000" data-end="0.500"' in shown
    assert "60.7%" in shown and "36.8%" in shown and "(bytes)" in shown


def test_a_transcript_without_tokens_shows_nothing():
    empty = Transcript("", (), None, 1.0)
    assert html.tokens(empty) == html.segments(empty) == ""
