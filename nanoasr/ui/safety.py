"""What strangers shall not get out of the server that Gradio runs."""

import gradio as gr
import safehttpx  # what Gradio fetches with


def refuse_web_addresses() -> None:
    """Make Gradio fetch nothing from other servers.

    It would download any http address that a program gives in the place of an uploaded file, however large, and
    serve any under `/file=`: from this machine and with its address.
    """
    safehttpx.get = safehttpx.async_validate_url = _refuse


async def _refuse(*_: object, **__: object) -> None:
    raise gr.Error("Web addresses are not read here: download the file and upload it.", print_exception=False)
