"""The server's log: one format, and nothing in it that a visitor or a file could forge."""

import logging
import sys
import traceback


class SafeFormatter(logging.Formatter):
    """Escapes control characters and indents further lines, so that no message looks like another entry."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return escape_controls(super().format(record)).replace("\n", "\n    ")


def escape_controls(text: str) -> str:
    """Replace control characters other than newlines and tabs, and line separators, by escapes."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def configure() -> None:
    """Log to stderr in the safe format: our records, warnings, and the tracebacks that Gradio and uvicorn print."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.handlers.clear()
    uvicorn.propagate = True
    traceback.print_exc = _log_current_exception  # Gradio calls it where a handler fails


def _log_current_exception(*_: object, **__: object) -> None:
    logging.getLogger("gradio").error("a request failed", exc_info=sys.exc_info())
