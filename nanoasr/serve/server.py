"""Configure uvicorn for this API."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import threading

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import NanoASRError
from .errors import APIError
from .service import Service

BACKLOG = 128  # connections that wait to be accepted: of uvicorn's 2048, each handled in turn, the last waits 5 s
FINISH, STOP, LEAVE = 6.0, 8.0, 9.5  # seconds after SIGTERM: work is stopped, connections are cut, the process ends
_MESSAGE_BYTES = 8 * 2**20  # of one WebSocket message; two minutes of audio


class Server(uvicorn.Server):
    """A uvicorn server that finishes running requests on shutdown, within a bounded time."""

    async def shutdown(self, sockets: list | None = None) -> None:
        """Refuse new requests, wait for running ones, stop those that take too long."""
        service: Service = self.config.app.state.service
        service.work.drain()
        asyncio.get_running_loop().call_later(FINISH, service.work.stop_all)
        await super().shutdown(sockets)


def make_server(app: Starlette) -> Server:
    """Make a server for the app."""
    return Server(
        uvicorn.Config(
            app,
            backlog=BACKLOG,
            http=_Protocol,
            ws="websockets-sansio",
            ws_max_size=_MESSAGE_BYTES,
            ws_max_queue=4,
            ws_per_message_deflate=False,  # audio in base64 gains little, and each connection would hold its tables
            ws_ping_interval=30,
            ws_ping_timeout=120,  # a client whose sending is held up answers late
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(STOP),
            access_log=False,
            log_level="warning",
            log_config=None,
            server_header=False,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address; NanoASRError when that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise NanoASRError(f"cannot serve on {host}:{port}: choose another --port or --host ({error})") from None
    # asyncio does this only for sockets made with a protocol number: a body would wait 40 ms for the headers' receipt
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run(app: Starlette, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; the access log goes to stderr."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("nanoasr.serve").setLevel(logging.INFO)
    server = make_server(app)
    handle_exit = server.handle_exit

    def leave_in_time(number: int, frame: object) -> None:
        timer = threading.Timer(LEAVE, os._exit, (0,))
        timer.daemon = True
        timer.start()
        handle_exit(number, frame)

    server.handle_exit = leave_in_time
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises both signals again when all is closed
    with contextlib.suppress(KeyboardInterrupt):
        server.run([listening])


class _Protocol(H11Protocol):
    """HTTP/1.1, with an answer in OpenAI's form to what is not HTTP."""

    def send_400_response(self, msg: str) -> None:
        error = APIError(400, msg, code="invalid_request").error
        body = json.dumps({"error": error}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()
