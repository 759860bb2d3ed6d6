"""Updates of handlers, made safe for Gradio."""

import contextlib
import functools
from collections.abc import Callable, Iterator


def repeating(handler: Callable[..., Iterator[dict]]) -> Callable[..., Iterator[dict]]:
    """Make each update of a handler repeat the ones before it.

    Gradio sends differences, which the page may merge before it shows them: of two updates in quick succession, a
    figure or a button that only the first one names would be lost.
    """

    @functools.wraps(handler)
    def work(*args: object) -> Iterator[dict]:
        shown: dict = {}
        with contextlib.closing(handler(*args)) as updates:
            for update in updates:
                shown |= update
                yield shown.copy()

    return work
