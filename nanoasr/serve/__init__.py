"""The OpenAI audio API: `create_app` for an ASGI app, `run` to serve it."""

from .app import beside, create_app
from .server import make_server, run

__all__ = ["beside", "create_app", "make_server", "run"]
