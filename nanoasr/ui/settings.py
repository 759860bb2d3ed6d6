"""Settings to compare: the form in which visitors edit them, and reading its rows or objects of the API."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.quantize import PRESETS as QUANTIZATIONS
from ..checkpoint.sources import PRESETS as CHECKPOINTS
from ..decode.prompt import LANGUAGES, split_hotwords
from ..decode.sampling import Sampling
from ..errors import AudioError, OptionError
from ..introspection.compare import Setting
from . import html
from .models import Access
from .recordings import check_length

_AS_LOADED = {
    "name": "", "temperature": 0, "top_k": 0, "top_p": 1, "beams": 1, "checkpoint": "", "quantize": "",
    "chunk, s": 15, "language": "", "hotwords": "", "figures": True,
}  # fmt: skip
COLUMNS = tuple(_AS_LOADED)
PRESETS = {
    "Sampling": [("greedy", {}), *((f"T = {t}", {"temperature": t}) for t in (0.5, 1.0))],
    "Beam search": [("greedy", {}), *((f"{n} beams", {"beams": n}) for n in (2, 4))],
    "Chunk lengths": [(f"{seconds} s", {"chunk, s": seconds}) for seconds in (5, 15, 30)],
    "Quantizations": [("as loaded", {}), *((name, {"quantize": name}) for name in QUANTIZATIONS)],
}
OTHER_PRESETS = {
    "Three families": [(name, {"checkpoint": name}) for name in ("nano", "sensevoice", "paraformer")],
    "Checkpoints": [("as loaded", {}), *((name, {"checkpoint": name}) for name in ("bundled", "nano"))],
}
_NUMBERS = {"temperature": (0, 100, 0.1), "top_k": (0, None, 1), "top_p": (0.05, 1, 0.05), "beams": (1, 16, 1),
            "chunk, s": (2, 30, 1)}  # fmt: skip
_MOST_SETTINGS, _MOST_RECORDINGS, MOST_REPEATS = 12, 20, 10
MOST_TEXT = 100_000  # characters of a reference


@dataclass(frozen=True)
class Comparison:
    """Recordings and settings to compare; `references` is None where none are known."""

    recordings: list[str]
    references: list[str | None] | None
    settings: list[Setting]
    repeats: int

    @property
    def runs(self) -> int:
        """The number of transcriptions."""
        return len(self.recordings) * sum(1 if s.sampling.greedy else self.repeats for s in self.settings)


def preset(changes: list[tuple[str, dict]]) -> list[list]:
    """The rows of the form for a preset."""
    return [[(_AS_LOADED | {"name": name} | change)[column] for column in COLUMNS] for name, change in changes]


def form(rows: list[list], access: Access) -> str:
    """The settings as a form, one in each row; `static/settings.js` adds, removes and reads rows."""
    choices = {
        "checkpoint": ["bundled", *CHECKPOINTS] if access is not Access.NONE else [],
        "quantize": list(QUANTIZATIONS),
        "language": [(language.code, language.name) for language in LANGUAGES],
    }
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    body = "".join(f"<tr>{_form_row(number, row, choices)}</tr>" for number, row in enumerate(rows, 1))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Settings, one in each row"><table class="plain '
        f'settings"><thead><tr>{head}<td></td></tr></thead><tbody>{body}</tbody></table></div>'
        '<button type="button" class="add-row">+ Add a row</button>'
    )


def _form_row(number: int, row: list, choices: dict[str, list]) -> str:
    cells = []
    for name, value in zip(COLUMNS, row, strict=True):
        label = f'aria-label="{html.escape(name)}, row {number}" data-name="{html.escape(name)}"'
        if name in choices:
            options = [("", "as loaded" if name != "language" else "detect"), *choices[name]]
            options = [option if isinstance(option, tuple) else (option, option) for option in options]
            marks = {value: " selected"}
            listed = "".join(
                f'<option value="{html.escape(code)}"{marks.get(code, "")}>{html.escape(shown)}</option>'
                for code, shown in options
            )
            cell = f"<select {label}>{listed}</select>"
        elif name in _NUMBERS:
            low, high, step = _NUMBERS[name]
            limit = "" if high is None else f' max="{high}"'
            cell = f'<input type="number" {label} value="{value:g}" min="{low}"{limit} step="{step}">'
        elif isinstance(value, bool):
            cell = f'<input type="checkbox" {label}{" checked" if value else ""}>'
        else:
            cell = f'<input type="text" {label} value="{html.escape(value)}">'
        cells.append(f"<td>{cell}</td>")
    remove = f'<td><button type="button" class="remove-row" aria-label="Remove row {number}">×</button></td>'
    return "".join(cells) + remove


def read_comparison(
    paths: list[str] | None, references: str | None, settings: list[Setting], repeats: float, max_seconds: float
) -> Comparison:
    """Check the inputs. `paths` may hold texts of the recordings' names, used if `references` is empty."""
    texts = {Path(path).stem: path for path in paths or [] if Path(path).suffix.lower() == ".txt"}
    paths = [path for path in paths or [] if Path(path).suffix.lower() != ".txt"]
    if not paths:
        raise AudioError("There is no recording yet: upload some, or choose an example.")
    if len(paths) > _MOST_RECORDINGS:
        raise OptionError(f"{len(paths)} recordings: compare {_MOST_RECORDINGS} at most at a time.")
    for path in paths:
        check_length(path, max_seconds)
    lines = (references or "").rstrip().splitlines()
    if not lines and texts:
        lines = [_read_text(texts.get(Path(path).stem)) for path in paths]
    if len(paths) == 1:
        lines = [" ".join(lines)]
    if lines and len(lines) != len(paths):
        raise OptionError(f"{len(paths)} recordings but {len(lines)} lines of reference text: write one line for each.")
    return Comparison(paths, [line.strip() or None for line in lines] or None, settings, round(repeats))


def settings_of_objects(rows: object, access: Access) -> list[Setting]:
    """Parse objects of the API; missing fields are as loaded."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise OptionError('settings: give a list of objects, such as [{"name": "warm", "temperature": 0.8}]')
    unknown = sorted({str(name) for row in rows for name in row} - set(COLUMNS))
    if unknown:
        raise OptionError(f"settings: {unknown[0]!r:.80} is unknown; there are {', '.join(COLUMNS)}")
    return settings_of_rows([[(_AS_LOADED | row)[name] for name in COLUMNS] for row in rows], access)


def settings_of_rows(table: list[list], access: Access) -> list[Setting]:
    """Parse rows of the form; empty cells are as loaded, empty rows are skipped."""
    if not isinstance(table, list) or not all(isinstance(row, list) and len(row) == len(COLUMNS) for row in table):
        raise OptionError("The settings cannot be read: reload the page.")
    rows = [row for row in table if any(cell not in ("", None, False) for cell in row)]
    if not rows:
        raise OptionError("There is no setting: add a row, or press one of the buttons above.")
    if len(rows) > _MOST_SETTINGS:
        raise OptionError(f"{len(rows)} settings: compare {_MOST_SETTINGS} at most at a time.")
    found = [_setting(number, row, access) for number, row in enumerate(rows, 1)]
    if len({setting.name for setting in found}) < len(found):
        raise OptionError("Two settings have the same name: give each its own.")
    return found


def _read_text(path: str | None) -> str:
    """An uploaded reference text as one line."""
    if path is None:
        return ""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return " ".join(file.read(MOST_TEXT).split())


def _setting(number: int, row: Sequence, access: Access) -> Setting:
    given = zip(row, _AS_LOADED.values(), strict=True)
    cells = [usual if cell is None or cell == "" else cell for cell, usual in given]
    name, temperature, top_k, top_p, beams, checkpoint, quantize, chunk, language, hotwords, figures = cells
    try:
        temperature, top_p, chunk = float(temperature), float(top_p), float(chunk)
        top_k, beams = int(float(top_k)), int(float(beams))
        if not 2 <= chunk <= 30:
            raise OptionError(f"chunk, s={chunk:g}: must be from 2 to 30")
        if quantize and quantize not in QUANTIZATIONS:
            raise OptionError(f"quantize={quantize!r:.40}: leave it empty or use {', '.join(QUANTIZATIONS)}")
        checkpoint = access.permit(str(checkpoint)) if checkpoint else None
        return Setting(
            str(name)[:60] or f"row {number}",
            Sampling(temperature=temperature, top_k=top_k, top_p=top_p, beams=beams), quantize or None, chunk,
            str(language) or None, tuple(split_hotwords(str(hotwords))),
            str(figures).strip().lower() not in ("false", "0", "no"), checkpoint,
        )  # fmt: skip
    except OptionError as error:
        raise OptionError(f"Row {number} of the settings: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(
            f"Row {number} of the settings: a number is missing or invalid ({str(error)[:80]})."
        ) from error
