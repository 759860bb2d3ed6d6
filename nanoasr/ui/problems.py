"""What a visitor is told when something fails."""

import logging

import gradio as gr

from ..errors import NanoASRError
from . import html

log = logging.getLogger(__name__)


def told(error: Exception, what: str) -> str:
    """A sentence for whoever asked; an error that is none of ours goes to the log, after `what` failed."""
    if isinstance(error, NanoASRError):
        return str(error)
    log.error(what, exc_info=error)
    return "Something went wrong here; the server's log says what."


def as_status(error: Exception, what: str) -> str:
    """The same as the page's status."""
    return html.message(told(error, what), "error")


def as_answer(error: Exception, what: str) -> gr.Error:
    """The same as a program's answer."""
    return gr.Error(told(error, what), print_exception=False)
