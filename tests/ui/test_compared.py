"""The results of a comparison as HTML."""

from nanoasr.decode.sampling import Sampling
from nanoasr.introspection.compare import Result, Setting
from nanoasr.results.segments import Candidate, Segment
from nanoasr.ui import compared

COLD, WARM = Setting("cold"), Setting("warm", Sampling(temperature=1.0))


def runs(*texts: str, **more: object) -> list[Result]:
    return [Result("a.wav", WARM, place, place, text, **more) for place, text in enumerate(texts, 1)]


def test_equal_texts_of_repeats_are_folded():
    shown = compared.rows(runs("one two", "one two", "one too"))
    assert shown.count("class='said'") == 2
    assert "seed 1, 2" in shown and "2 × the same" in shown and "seed 3" in shown


def test_settings_that_gave_the_same_text_share_a_row():
    shown = compared.rows([Result("a.wav", setting, 1, None, "one") for setting in (COLD, WARM)])
    assert shown.count("class='said'") == 1 and "cold, warm" in shown


def test_results_are_grouped_by_recording():
    shown = compared.rows([Result(name, COLD, 1, None, "x") for name in ("a.wav", "b.wav")])
    assert shown.index("a.wav") < shown.index("b.wav") and shown.count("class='recording'") == 2


def test_an_error_is_shown_once():
    found = [Result(name, COLD, 1, None, error="no such checkpoint") for name in ("a.wav", "b.wav")]
    shown = compared.rows(found)
    assert shown.count("no such checkpoint") == 1 and "the same error" in shown


def test_nothing_becomes_markup():
    assert "<img" not in compared.rows([Result("<img>", Setting("<img>"), 1, None, "<img>", error="<img>")])


def test_the_search_with_most_beams_is_drawn():
    def run(name: str, beams: int, *texts: str) -> Result:
        nbest = tuple(Candidate(text, -1.0, -1.0) for text in texts)
        segments = (Segment(texts[0], 0.0, 1.0, nbest=nbest),) if beams > 1 else ()
        return Result(name, Setting(f"{beams} beams", Sampling(beams=beams)), 1, None, texts[0], segments=segments)

    narrow, wide = run("<a>.wav", 2, "one", "nine"), run("<a>.wav", 4, "one", "nine", "five", "fine")
    said, tree = compared.beam_search([run("<a>.wav", 1, "one"), narrow, wide])
    assert "&lt;a&gt;.wav, 4 beams" in said and sum("score" in str(trace.text) for trace in tree.data) == 1
    assert {"one", "nine", "five", "fine"} <= {word for trace in tree.data for word in trace.text or ()}
    assert compared.beam_search([run("<a>.wav", 1, "one")]) == ("", None)
