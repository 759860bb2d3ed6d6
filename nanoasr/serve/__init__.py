"""The OpenAI audio API: `create_app` for an ASGI app, `run` to serve it."""

from .app import create_app, mount_api
from .server import make_server, run

__all__ = ["create_app", "make_server", "mount_api", "run"]
