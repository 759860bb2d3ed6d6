"""Messages for visitors when something fails."""

import logging

import gradio as gr

from ..errors import NanoASRError
from . import html

log = logging.getLogger(__name__)


def user_message(error: BaseException, what: str) -> str:
    """A sentence for the visitor; an unexpected error goes to the log with `what` failed."""
    if isinstance(error, NanoASRError):
        return str(error)
    log.error(what, exc_info=error)
    return "Something went wrong on the server; its log has the details."


def status_message(error: BaseException, what: str) -> str:
    """The same as the page's status line."""
    return html.message(user_message(error, what), "error")


def api_error(error: BaseException, what: str) -> gr.Error:
    """The same as an error of the API."""
    return gr.Error(user_message(error, what), print_exception=False)
