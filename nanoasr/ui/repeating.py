"""What handlers yield, as the page needs it."""

import contextlib
import functools
from collections.abc import Callable, Iterator


def repeating(handler: Callable[..., Iterator[dict]]) -> Callable[..., Iterator[dict]]:
    """A generator of updates, each of which repeats what came before it.

    Gradio sends differences, and the page puts them into the objects that it may not have shown yet: of two updates
    that come close together, a figure or a button that only the first names would be lost.
    """

    @functools.wraps(handler)
    def work(*args: object) -> Iterator[dict]:
        shown: dict = {}
        with contextlib.closing(handler(*args)) as updates:
            for update in updates:
                shown |= update
                yield shown.copy()

    return work
