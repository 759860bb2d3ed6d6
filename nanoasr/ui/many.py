"""Several recordings at once: a list of them with their progress, and one file with all texts."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import html, knobs
from .jobs import FairQueue, Update, transcribe_in_turn
from .models import SharedModel
from .problems import user_message
from .recordings import check_length
from .shown import Shown


@dataclass
class Item:
    """One of the recordings, and what has come of it."""

    path: str
    share: float | None = None  # of it that is done, while it is worked on
    shown: Shown | None = None
    error: str | None = None


class _StopOne(threading.Event):
    """Set by the end of one recording, or with all of them."""

    def __init__(self, all_of_them: threading.Event):
        super().__init__()
        self._all = all_of_them

    def is_set(self) -> bool:
        return super().is_set() or self._all.is_set()


def transcribe_all(
    waiting: FairQueue, model: SharedModel, paths: Sequence[str], stop: threading.Event, max_seconds: float,
    options: dict,
) -> Iterator[tuple[list[Item], Update]]:  # fmt: skip
    """Transcribe one after another, so that other visitors have their turns between; errors stay with their file."""
    items = [Item(path) for path in paths]
    for item in items:
        if stop.is_set():
            break
        try:
            length = check_length(item.path, max_seconds)
            for update in transcribe_in_turn(waiting, model.get(), item.path, length, _StopOne(stop), **options):
                item.share = min(update.seconds_done / length, 1.0) if length else None
                if update.transcript and not update.stopped:
                    item.shown = Shown(item.path, update.transcript, knobs.prompt(options))
                yield items, update
        except Exception as error:
            item.error = user_message(error, "one of several recordings failed")
            yield items, Update("", 0.0)


def listed(items: Sequence[Item], now: bool = True) -> str:
    """The list; what is done can be opened."""
    rows = "".join(_row(number, item, now) for number, item in enumerate(items))
    return f'<div class="scroll"><table class="plain files"><tbody>{rows}</tbody></table></div>'


def _row(number: int, item: Item, now: bool) -> str:
    name = html.escape(Path(item.path).name)
    if item.error:
        state, text = "failed", item.error
    elif item.shown:
        state = f'<button type="button" class="small" data-open="{number}" aria-label="Open {name}">Open</button>'
        text = item.shown.transcript.text[:160]
    elif item.share is not None and now:
        state, text = f'<progress max="1" value="{item.share:.3f}" aria-label="{name}"></progress>', ""
    else:
        state, text = "waiting" if now else "not done", ""
    return f"<tr><th>{name}</th><td>{state}</td><td>{html.escape(text)}</td></tr>"
