"""A live session in a notebook: its text, updated in place."""

from collections.abc import Sequence

from ..results.notebook import live_html
from ..results.segments import Segment
from ..results.words import join_texts
from .events import Update


class LiveView:
    """An output of the notebook that follows a session; IPython is there, since it asked for this."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._output = display(HTML(live_html("", "", "listening")), display_id=True)

    def show(self, segments: Sequence[Segment], update: Update) -> None:
        """Show the text of the finished segments and of the open one."""
        committed = join_texts([*(segment.text for segment in segments), update.committed])
        note = f"{update.latency.audio:.1f} s heard"
        self._output.update(self._html(live_html(committed, update.tentative, note)))
