"""Uploads: multipart forms and recordings, bounded in size, duration and time."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from typing import BinaryIO

import numpy as np
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..audio.files import SAMPLE_RATE, read_blocks
from .errors import APIError

CHUNK_PATIENCE = 60.0  # seconds without a byte of an upload
_MOST_FIELDS, _LONGEST_FIELD = 200, 256 * 1024
_FORM_BYTES = 2**20  # what a form may hold besides the file
_HELD_SECONDS = 30.0  # of decoded sound kept in memory; of a longer recording the file is decoded again


class Room:
    """Disk space shared by all uploads."""

    def __init__(self, size: int):
        self.left = size

    def take(self, size: int) -> None:
        """Reserve bytes, or raise a 503."""
        if size > self.left:
            raise APIError(
                503,
                "There is no room for more uploads now: try again later.",
                code="busy",
                headers={"Retry-After": "5"},
            )
        self.left -= size

    def give_back(self, size: int) -> None:
        """Free reserved bytes."""
        self.left += size


@contextlib.asynccontextmanager
async def read_form(request: Request, max_bytes: int, room: Room) -> AsyncIterator[FormData]:
    """Read a multipart form, its file into a temporary file that goes with the block. 413 if it is too large."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise APIError(400, "The body must be multipart/form-data with the parts file and model.", code="invalid_body")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + _FORM_BYTES:
        raise _too_large(max_bytes)
    body = _Body(request, max_bytes, room)
    parser = MultiPartParser(
        request.headers,
        body.chunks(),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_LONGEST_FIELD,
    )
    try:
        form = await parser.parse()
        try:
            file = form.get("file")
            if isinstance(file, UploadFile) and (file.size or 0) > max_bytes:
                raise _too_large(max_bytes)
            yield form
        finally:
            await form.close()
    except (MultiPartException, FormParserError) as error:  # Starlette 1.0 passes the second one on
        reason = getattr(error, "message", "Invalid multipart data.")
        raise APIError(400, f"The multipart form cannot be read: {reason}", code="invalid_body") from error
    finally:
        room.give_back(body.size)


class _Body:
    """The body of a request, bounded while it comes."""

    def __init__(self, request: Request, max_bytes: int, room: Room):
        self._stream, self._max_bytes, self._room = request.stream().__aiter__(), max_bytes, room
        self.size = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(self._stream), CHUNK_PATIENCE)
            except StopAsyncIteration:
                return
            except asyncio.TimeoutError as error:
                raise APIError(408, "The upload stopped.", code="timeout", headers={"Connection": "close"}) from error
            self._room.take(len(chunk))
            self.size += len(chunk)
            if self.size > self._max_bytes + _FORM_BYTES:
                raise _too_large(self._max_bytes)
            yield chunk


def _too_large(max_bytes: int) -> APIError:
    return APIError(
        413,
        f"The file is larger than the limit of {max_bytes / 2**20:g} MB.",
        code="file_too_large",
        param="file",
        headers={"Connection": "close"},  # there may be more of the body
    )


def decode_upload(file: BinaryIO, max_seconds: float, stop: threading.Event) -> tuple[np.ndarray | BinaryIO, float]:
    """Decode a recording once, before any of it is transcribed -> what to transcribe, and its seconds.

    A short one comes back as samples at 16 kHz; of a long one only its length is kept, and its file comes back.
    """
    held: list[np.ndarray] = []
    samples = 0
    for block in read_blocks(file, seconds=15, max_seconds=max_seconds, name="file"):
        if stop.is_set():
            break
        samples += len(block)
        if samples <= _HELD_SECONDS * SAMPLE_RATE:
            held.append(block)
        else:
            held.clear()
    seconds = samples / SAMPLE_RATE
    return (np.concatenate(held) if held else file), seconds
