"""The recipe of the bundled checkpoint: what can be checked without its packages."""

import gzip
import json
import random
import struct
import sys
import zlib
from argparse import Namespace
from collections import Counter
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nearness import differs

from nanoasr.checkpoint.load import load_checkpoint
from nanoasr.checkpoint.sources import BUNDLED
from nanoasr.train.manifest import read_manifest
from nanoasr.train.network import expand_quantized

sys.path.append(str(Path(__file__).parents[2] / "assets" / "nano-tiny" / "recipe"))

import baseline
import drascula
import evaluate
import extra
import grow
import literature
import queen
import readings
import real
import sky
import speech
import text


def tone(seconds: float, pitch: float = 220) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * 16000)) / 16000)).astype(np.float32)


# Beneath a Steel Sky


class RncWriter:
    """Bits into 16-bit words, lowest first; a word has its place where its first bit was written."""

    def __init__(self):
        self.out, self.place, self.used = bytearray(), 0, 16

    def number(self, value: int, count: int) -> None:
        for k in range(count):
            if self.used == 16:
                self.place, self.used = len(self.out), 0
                self.out += bytes(2)
            bit = value >> k & 1
            self.out[self.place + self.used // 8] |= bit << self.used % 8
            self.used += 1

    def table(self, *lengths: int) -> None:
        self.number(len(lengths), 5)
        for length in lengths:
            self.number(length, 4)


def packed_literally(data: bytes) -> bytes:
    """RNC without copies: seven bytes a chunk, one run of literals."""
    bits = RncWriter()
    bits.number(0, 2)
    for start in range(0, len(data), 7):
        run = data[start : start + 7]
        width = len(run).bit_length()
        bits.table(*[0] * width, 1)  # the only code, 0, stands for `width` bits after it
        bits.table()
        bits.table()
        bits.number(1, 16)
        bits.number(0, 1)
        bits.number(len(run) & ~(1 << (width - 1)), width - 1)
        bits.out += run
    return b"RNC\1" + len(data).to_bytes(4, "big") + bytes(10) + bits.out


def section_of(texts: list[str]) -> bytes:
    """A file of texts as the game has it."""
    codes = {letter: code for code, letter in sky._letters_of(iter(sky.TREE)).items()}
    sizes, bits = [], ""
    for words in texts:
        code = "".join(codes[letter] for letter in words + "\0")
        size = -(-len(code) // 2)
        if size > 127:
            size = -(-size // 8) * 8
        sizes.append(128 | size >> 3 if size > 127 else size)
        bits += code.ljust(2 * size, "0")
    whole = [(size & 127) << 3 if size & 128 else size for size in sizes]
    blocks = [sum(whole[k : k + 32]) for k in range(0, len(texts) - 31, 32)]
    sizes_at = 4 + 2 * len(blocks)
    head = [sizes_at, sizes_at + len(texts) - 1, *blocks]
    return np.array(head, "<u2").tobytes() + bytes(sizes[:-1]) + np.packbits([int(bit) for bit in bits]).tobytes()


def disk_of(folder: Path, files: dict[int, bytes]) -> None:
    data, entries = bytearray(), bytearray()
    for number, content in files.items():
        entries += number.to_bytes(2, "little") + len(data).to_bytes(3, "little") + len(content).to_bytes(3, "little")
        data += content
    (folder / "sky.dnr").write_bytes(len(files).to_bytes(4, "little") + entries)
    (folder / "sky.dsk").write_bytes(data)


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz A'.?!", max_size=120), min_size=1, max_size=70))
def test_every_text_of_a_section_of_beneath_a_steel_sky_is_read(texts):
    assert sky._texts(section_of(texts))[: len(texts)] == texts


@given(st.binary(max_size=60))
def test_bytes_packed_with_rnc_are_unpacked(data):
    assert sky._unpacked(packed_literally(data)) == data


def test_an_rnc_copy_may_overlap_what_it_makes():
    bits = RncWriter()
    bits.number(0, 2)
    bits.table(1, 0, 1)  # runs: code 0 is none, code 1 is two or three
    bits.table(0, 1)  # distances: one more than one
    bits.table(0, 0, 1)  # lengths: two more than two or three
    bits.number(2, 16)
    bits.number(0b01, 2)  # two literals
    bits.out += b"ab"
    bits.number(0, 1)  # from two back
    bits.number(0b10, 2)  # five
    bits.number(0, 1)  # no literals
    packed = b"RNC\1" + (7).to_bytes(4, "big") + bytes(10) + bits.out
    assert sky._unpacked(packed) == b"abababa"


def test_a_sound_that_ends_too_soon_is_named():
    with pytest.raises(ValueError, match=r"sky\.dsk is damaged"):
        sky._unpacked(packed_literally(b"sound")[:-8])


def test_a_line_on_which_the_two_versions_of_beneath_a_steel_sky_differ_is_left_out(tmp_path):
    files = {sky.FIRST_SOUND + k: bytes(sky.HEADER) + packed_literally(b"sound%d" % k) for k in range(3)}
    american = section_of(["I have 3 keys, Mr. Foster!", "Take the elevator.", "[coughs]"])
    british = section_of(["I have 3 keys Mr Foster!", "Up in the lift, then.", "[coughs]"])
    for section in range(len(sky.SECTION_STARTS)):
        empty = section_of([""])
        files[sky.FIRST_TEXT + section] = empty if section else american
        files[sky.FIRST_TEXT + section + 24] = empty if section else british
    disk_of(tmp_path, files)
    assert list(sky.clips(tmp_path)) == [(b"sound0", "i have three keys mister foster", "sky")]


# Flight of the Amazon Queen


def game_of(folder: Path, parts: dict[str, bytes]) -> None:
    table, data, start = b"", b"", 15 + 21 * len(parts)
    for name, content in parts.items():
        table += struct.pack(">13sII", name.encode(), start + len(data), len(content))
        data += content
    head = struct.pack(">4s8xBH", b"QTBL", queen.MP3, len(parts))
    (folder / "queen.1c").write_bytes(head + table + data)


def shorts(*values: int) -> bytes:
    return np.array(values, ">i2").tobytes()


def without_things(texts: list[str]) -> dict[str, bytes]:
    """The parts that list a game's rooms, names, objects and descriptions: only the last, what Joe says of things."""
    head = bytes(queen.HEADER) + shorts(0, 0, 0, len(texts))
    return {"QUEEN.JAS": head, "QUEEN2.JAS": "\r\n".join([*texts, *["?"] * (queen.VERBS + queen.RESPONSES)]).encode()}


def test_what_joe_says_of_things_is_found_once_by_the_number_of_its_text(tmp_path):
    texts = ["It's a door.", "Hm.*ARIt's locked.", "It's a door.", "It's 10:30.", "Grrrr!"]
    numbers = [k + queen.RESPONSES for k in range(1, len(texts) + 1)]
    parts = without_things(texts) | {f"JOE{n:04d}1.SB": b"sound%d" % n for n in numbers}
    parts[f"JOE{numbers[1]:04d}2.SB"] = parts.pop(f"JOE{numbers[1]:04d}1.SB")
    game_of(tmp_path, parts)
    assert list(queen.clips(tmp_path)) == [(b"sound41", "it's a door", "joe"), (b"sound42", "it's locked", "joe")]


def pascal(words: str, at: int, align: int) -> bytes:
    """A text for offset `at` and the padding after it."""
    data = bytes([len(words)]) + words.encode()
    return data + bytes(-(at + len(data)) % align)


def test_both_sides_of_a_dialogue_are_found_by_the_numbers_of_their_lines(tmp_path):
    said, starts = bytes(32), []
    for number, words in ((0x1A, "Who are you?"), (2, "I'm a witch.")):
        starts.append(len(said))
        said += shorts(0, number)
        said += pascal(words, len(said), 4)
    again_at = len(said)
    said += pascal("Go away.", len(said), 2)
    said += pascal("All right.", len(said), 2)
    head = shorts(0, 0, 7, 1, 1).ljust(22, b"\0") + shorts(starts[1], 0, again_at)
    dialogue = bytes(queen.HEADER) + head.ljust(32, b"\0") + said[32:]
    sounds = {"07001AJ1.SB": b"J", "070002P1.SB": b"P", "07XXXXP1.SB": b"PX", "07XXXXJ1.SB": b"JX"}
    game_of(tmp_path, without_things([]) | {"WITCH7.DOG": dialogue} | sounds)
    assert list(queen.clips(tmp_path)) == [
        (b"J", "who are you", "joe"),
        (b"P", "i'm a witch", "witch"),
        (b"PX", "go away", "witch"),
        (b"JX", "all right", "joe"),
    ]


def test_another_edition_of_flight_of_the_amazon_queen_is_refused(tmp_path):
    game_of(tmp_path, {})
    data = (tmp_path / "queen.1c").read_bytes()
    (tmp_path / "queen.1c").write_bytes(data[:12] + b"\0" + data[13:])
    with pytest.raises(ValueError, match=r"queen\.1c is not the talkie edition"):
        list(queen.clips(tmp_path))


# Drascula: The Vampire Strikes Back


def drascula_of(folder: Path, tables: list[list[str]], sounds: dict[str, bytes]) -> None:
    """A game with a table of lines for each character, the same in every language."""
    data = b"DRASCULA" + bytes([drascula.LANGUAGES])
    for lines in tables:
        coded = [line.encode("cp437") + b"\0\0\0" for line in lines]
        table = bytes(2) + b"".join(len(line).to_bytes(2, "big") + line[:-2] for line in coded) + bytes(2)
        data += len(lines).to_bytes(2, "big") + drascula.LANGUAGES * (len(table).to_bytes(2, "big") + table)
    (folder / "drascula.dat").write_bytes(data)
    for name, sound in sounds.items():
        (folder / f"{name}.ALS").write_bytes(sound)


def test_lines_of_drascula_are_found_by_their_character_and_number(tmp_path):
    hero = ["", "IT'S LOCKED", *[""] * (drascula.HERO_LINES - 2)]
    others = [["", f"HI, I AM {name}!"] for name in drascula.CHARACTERS[1:]]
    drascula_of(tmp_path, [hero, *others], {"0": b"nothing", "1": b"hero", "VB1": b"professor"})
    assert list(drascula.clips(tmp_path)) == [
        (b"hero", "it's locked", "drascula"),
        (b"professor", "hi i am vb", "drascula VB"),
    ]


def test_another_edition_of_drascula_is_refused(tmp_path):
    (tmp_path / "drascula.dat").write_bytes(b"DRASCULA")
    with pytest.raises(ValueError, match=r"drascula\.dat is not as in"):
        list(drascula.clips(tmp_path))


@pytest.mark.parametrize(("heard", "kept"), [("It's a wax candle", True), ("It's a Vox handle.", True), ("No.", False)])
def test_a_line_is_kept_where_nearly_the_same_letters_are_heard(heard, kept):
    assert extra.alike("it's a wax candle", heard) is kept


# Readings


def test_every_reading_has_the_words_of_a_transcript_and_a_person():
    table = readings.rows()
    assert all(text.normalize(row["text"]) == row["text"] and row["person"] for row in table)
    assert {row["text from"] for row in table} == {"source", "book"}
    assert len({row["person"] for row in table}) >= 12 and sum(len(row["text"].split()) for row in table) >= 600


def test_a_part_of_a_recording_is_cut_out(tmp_path):
    np.arange(32000, dtype="<i2").tofile(tmp_path / "a.raw")
    part = readings.samples(tmp_path, {"file": "a.raw", "seconds": "0.5-1.25"})
    assert np.array_equal(np.round(part * 32768), np.arange(8000, 20000))


# Measuring


def test_spellings_that_recognizers_differ_in_are_no_errors():
    assert evaluate.error_rate(["her humour was grey"], ["Her, um, humor was gray."]) == 0
    assert evaluate.error_rate(["her humour was grey"], ["her rumour was grey"]) == 25


def test_echoes_of_a_room_are_as_strong_as_the_voice():
    impulse = np.zeros(16000, np.float32)
    impulse[100] = 0.5
    (heard,) = evaluate.Recordings("set", [impulse], ["a"], []).in_a_room().samples
    assert heard[100] == pytest.approx(0.5) and not heard[:100].round(6).any()
    assert np.square(heard[101:]).sum() == pytest.approx(0.25, rel=0.01)


def test_only_recordings_that_another_recognizer_has_not_heard_are_given_to_it(tmp_path, monkeypatch):
    given = []

    def transcripts(python, program, samples):
        given.append(len(samples))
        return ["a b"] * len(samples)

    monkeypatch.setattr(evaluate.baseline, "transcripts", transcripts)
    recordings = evaluate.Recordings("set", [tone(0.1), tone(0.2)], ["a c", "a b"], [None, None])
    assert evaluate.by_other("whisper", "python", tmp_path, recordings.first(1)) == "50.0 %"
    assert evaluate.by_other("whisper", "python", tmp_path, recordings) == "25.0 %"
    assert evaluate.by_other("whisper", "python", tmp_path, recordings) == "25.0 %"
    assert evaluate.by_other("pocketsphinx", None, tmp_path, recordings) == "–"
    assert given == [1, 1]


def test_samples_reach_another_recognizer_through_a_shard(tmp_path):
    manifest = tmp_path / "set.jsonl"
    np.save(tmp_path / "set.npy", np.arange(10, dtype=np.int16))
    manifest.write_text(json.dumps({"audio": f"{tmp_path}/set.npy#2:3"}) + "\n")
    assert [samples.tolist() for samples in baseline.recordings(manifest)] == [[2, 3, 4]]


# Words and zips


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Mr. Foster, 12 o'clock!", "mister foster twelve o'clock"),
        ("Show me your ID.", "show me your i d"),
        ("At 1.5 percent", None),
        ("...", None),
    ],
)
def test_a_line_is_written_as_it_is_said(line, words):
    assert text.words_said(line) == words


def test_speech_of_a_game_is_resampled_and_kept_where_it_fits_its_text(tmp_path):
    samples = (128 + 100 * np.sin(np.arange(11025))).astype(np.uint8).tobytes()

    class Game:
        PACKAGE, SOUND = "game", sky.SOUND

        @staticmethod
        def clips(folder):
            yield samples, "a line of one second", "somebody"
            yield samples, "hm", "somebody"

    ((audio, words, voice),) = real.actors(tmp_path, [Game])
    assert (words, voice) == ("a line of one second", "somebody")
    assert len(audio) == pytest.approx(16000, abs=50)


def test_zips_of_one_seed_are_unpacked_side_by_side(tmp_path):
    real.pack(tmp_path / "real.zip", {"prompts": [(tone(0.5), "press one", "allison")]})
    real.pack(tmp_path / "actors.zip", {"actors": [(tone(0.7), "hello", "joe"), (np.zeros(9000), "silence", "joe")]})
    archives = [tmp_path / "real.zip", tmp_path / "actors.zip"]
    speech.unpack(Namespace(archives=archives, out=tmp_path / "out", seed=1))
    rows = [json.loads(line) for path in sorted((tmp_path / "out").glob("*.jsonl")) for line in path.open()]
    assert [(row["kind"], row["text"], row["speaker"]) for row in rows] == [
        ("actors", "hello", "joe"),
        ("prompts", "press one", "allison"),
    ]
    for row, seconds in zip(rows, (0.7, 0.5), strict=True):
        path, _, span = row["audio"].partition("#")
        start, length = map(int, span.split(":"))
        assert len(np.load(path)[start : start + length]) == length == pytest.approx(seconds * 16000, abs=400)


def test_digits_are_joined_to_strings_that_one_speaker_says_at_one_speed(tmp_path):
    digits = [(tone(0.3, 200 * (k + 1)), word, voice) for voice in "ab" for k, word in enumerate(["one", "two"])]
    real.pack(tmp_path / "real.zip", {"digits": digits})
    speech.unpack(Namespace(archives=[tmp_path / "real.zip"], out=tmp_path, seed=1))
    rows = [json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.open()]
    strings = [row for row in rows if "words" in row]
    trained_with = [u for path in tmp_path.glob("*.jsonl") for u in read_manifest(path)]
    assert [u.speaker for u in trained_with] == [row["speaker"] for row in rows]
    speakers = {f"{voice} {speed}" for voice in "ab" for speed in speech.DIGIT_SPEEDS}
    assert {row["speaker"] for row in strings} == speakers
    for row in strings:
        for _, start, end in row["words"]:
            whole = 0.3 / float(row["speaker"].split()[1])
            assert 0.5 * whole - 0.01 < end - start < whole + 0.01  # the start of some is cut off
    assert all(row["text"] == " ".join(word for word, _, _ in row["words"]) for row in strings)
    assert all(0 < start < end < row["seconds"] for row in strings for _, start, end in row["words"])


def test_a_recording_that_begins_late_keeps_its_end_and_at_least_half():
    rng, whole = random.Random(1), np.arange(8000, dtype=np.int16)
    kept = [len(speech.begun_late(whole, rng)) for _ in range(300)]
    assert 70 < kept.count(8000) < 130  # one of three is whole
    assert 8000 - 0.18 * 16000 <= min(kept) < 6000
    assert speech.begun_late(whole, rng)[-1] == 7999
    assert min(len(speech.begun_late(whole[:1000], rng)) for _ in range(100)) == 500


# Novels and Webster's dictionary


def novels_of(packages: Path, *books: list[str]) -> None:
    folder = packages / "r-cran-janeaustenr/usr/lib/R/site-library/janeaustenr/data"
    folder.mkdir(parents=True)
    with (folder / "Rdata.rdb").open("wb") as f:
        for lines in books:
            strings = b"".join(struct.pack(">Ii", 0x40009, len(line.encode())) + line.encode() for line in lines)
            vector = (
                b"X\n" + struct.pack(">3Ii", 3, 0x40201, 0x30500, 5) + b"UTF-8" + struct.pack(">2I", 16, len(lines))
            )
            f.write(struct.pack(">I", len(vector + strings)) + zlib.compress(vector + strings))


def webster_of(packages: Path, text: str) -> None:
    folder = packages / "dict-gcide/usr/share/dictd"
    folder.mkdir(parents=True)
    (folder / "gcide.dict.dz").write_bytes(gzip.compress(text.encode()))


CHASTE = """Chaste \\Chaste\\, a. [F. chaste, from L. castus
   pure.]
   1. Pure from unlawful intercourse; virtuous; continent.
      [1913 Webster]

            He was a chaste man, and full
            of grief.                             --Sir W.
                                                  Scott.
      [1913 Webster]

            A gentil knyght.                      --Chaucer.
      [1913 Webster]

   2. Not to be seen again.
      [WordNet 1.5]

   Syn: Undefiled; pure.
"""


def test_sentences_of_the_novels_are_read_but_none_of_the_one_that_is_measured_with(tmp_path):
    pride = ["PRIDE AND PREJUDICE", "", "“My dear Mr. Bennet,” said", "his lady. You _must_ go--now.", "", "He went."]
    novels_of(tmp_path, ["SENSE AND SENSIBILITY", "", "The family of Dashwood."], pride)
    assert literature.novels(tmp_path) == ["My dear Mister Bennet, said his lady.", "You must go, now.", "He went."]


def test_quotations_and_meanings_of_webster_are_read_without_what_is_around_them(tmp_path):
    webster_of(tmp_path, CHASTE)
    quotations, meanings = literature.webster(tmp_path)
    assert quotations == ["He was a chaste man, and full of grief."]
    assert meanings == ["Pure from unlawful intercourse; virtuous; continent."]


def test_sentences_of_novels_to_measure_with_are_not_trained_on(tmp_path, monkeypatch):
    names = "Anna Bella Clara Dora Emma Fanny Grace Harriet Iris Jane Kitty Lydia Mary".split()
    novels_of(tmp_path / "packages", ["EMMA", *(f"{a} met {b} there today." for a in names for b in [*names, "Nora"])])
    webster_of(tmp_path / "packages", CHASTE)
    (tmp_path / "open.jsonl").write_text(json.dumps({"text": "anna met bella there today"}))
    (tmp_path / "demo.jsonl").write_text(json.dumps({"text": "please stop now"}))
    (tmp_path / "train.jsonl").write_text(json.dumps({"spoken": "Known", "text": "known", "kind": "example"}))
    monkeypatch.setattr(sys, "argv", ["literature.py", str(tmp_path), "--lines", "400"])
    literature.main()
    prose, literary = text.read(tmp_path / "prose.jsonl"), text.read(tmp_path / "literature.jsonl")
    measured, trained = {row["text"] for row in prose}, {row["text"] for row in literary}
    assert len(measured) == 176 and "he was a chaste man and full of grief" in measured
    assert not measured & trained
    assert "anna met bella there today" not in measured | trained
    kinds = Counter(row["kind"] for row in literary)
    assert kinds == {"novel": 13 * 14 - 1 - 175, "meaning": 1, "example": 1, "demo": kinds["demo"]}
    assert kinds["demo"] > 70


# Growing


def test_a_deepened_network_hears_what_it_heard():
    model = load_checkpoint(str(BUNDLED), dtype="float32").model
    expand_quantized(model)
    grown = grow.deepen(model, 3, 1)
    features = mx.random.normal((1, 20, 560), key=mx.random.key(0))
    encoded = model.encode(features, None)
    assert differs(grown.encode(features, None), encoded) < 1e-5
    assert differs(grown.ctc_logits(encoded, None), model.ctc_logits(encoded, None)) < 1e-5
    assert len(grown.audio_encoder.encoders) == len(model.audio_encoder.encoders) + 3


def test_voices_without_sound_make_no_strings(tmp_path):
    shards = speech.Shards(tmp_path, "digits")
    speech.add_strings(shards, 3, [], "nobody", random.Random(0))
    assert shards.rows == []
