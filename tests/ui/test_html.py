from nanoasr.results.transcript import Alternative, Segment, Token, Transcript
from nanoasr.ui import html

NASTY = "<img src=x onerror=alert(1)>\"'&\x00"


def transcript() -> Transcript:
    token = Token(7, NASTY, -0.5, 0.0, 0.5, (Alternative(8, NASTY, -1.0), Alternative(9, "\ufffd", float("-inf"))))
    return Transcript(NASTY, (Segment(NASTY, 0.0, 1.0, (token,)),), None, 1.0)


def test_nothing_from_a_model_a_file_or_a_visitor_becomes_markup():
    written = [
        html.transcript(transcript()),
        html.streaming_text(NASTY),
        html.message(NASTY, "error"),
        html.progress(NASTY, 0.5),
        html.table((NASTY,), [(NASTY, NASTY)]),
        html.prompt([(1, NASTY)], 3, [(2, NASTY)]),
    ]
    for page in written:
        assert "<img" not in page and 'alert(1)>"' not in page


def test_a_token_shows_its_probability_time_and_alternatives():
    shown = html.transcript(transcript())
    assert 'data-start="0.000" data-end="0.500"' in shown
    assert "60.7%" in shown and "36.8%" in shown and "(bytes)" in shown


def test_segments_are_paragraphs_that_do_not_run_into_each_other():
    one, two = (Segment(text, at, at + 1.0, (Token(1, text, -0.1),)) for at, text in ((0.0, "one"), (1.0, "two")))
    shown = html.transcript(Transcript("one two", (one, two), None, 2.0))
    assert shown.count('class="paragraph"') == 2 and 'data-text="one"' in shown
    assert shown.count('tabindex="0" style') == 1  # one stop of the Tab key for all tokens


def test_a_segment_without_tokens_shows_its_text():
    assert "<p>hello</p>" in html.transcript(Transcript("hello", (Segment("hello", 0.0, 1.0, ()),), None, 1.0))
    assert "token" not in html.transcript(Transcript("", (), None, 1.0))


def test_a_progress_bar_has_a_name_and_a_value():
    assert '<progress max="1" value="0.2500" aria-label="Loading"' in html.progress("Loading", 0.25)
    assert "value" not in html.progress("Loading", None)
