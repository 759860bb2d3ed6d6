"""Uploads: multipart forms and recordings, bounded in bytes, in seconds and in patience."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator
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
_DRAINED, _DRAIN_PATIENCE = 4, 5.0  # how many times the limit is still read, and the seconds between its pieces
_HELD_SECONDS = 120.0  # of decoded sound kept in memory; of a longer recording the file is decoded again


async def read_form(request: Request, max_bytes: int) -> FormData:
    """Read a multipart form; its file goes to a temporary file, and nothing beyond the limit is kept."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise APIError(400, "The body must be multipart/form-data with the parts file and model.", code="invalid_body")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + _FORM_BYTES:
        if "expect" not in request.headers and int(length) <= _DRAINED * max_bytes:
            await _drain(request)
        raise _too_large(max_bytes)
    parser = MultiPartParser(
        request.headers,
        _bounded(request, max_bytes),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_LONGEST_FIELD,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:  # Starlette 1.0 passes the second one on
        reason = getattr(error, "message", "Invalid multipart data.")
        raise APIError(400, f"The multipart form cannot be read: {reason}", code="invalid_body") from error
    file = form.get("file")
    if isinstance(file, UploadFile) and (file.size or 0) > max_bytes:
        await form.close()
        raise _too_large(max_bytes)
    return form


async def _bounded(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    total = 0
    async for chunk in _chunks(request, CHUNK_PATIENCE):
        total += len(chunk)
        if total <= max_bytes + _FORM_BYTES:
            yield chunk
        elif total > _DRAINED * max_bytes:
            break
    if total > max_bytes + _FORM_BYTES:
        raise _too_large(max_bytes)


async def _drain(request: Request) -> None:
    """Read the rest of a body and forget it: most clients read an answer only after they have sent everything."""
    with contextlib.suppress(APIError):
        async for _ in _chunks(request, _DRAIN_PATIENCE):
            pass


async def _chunks(request: Request, patience: float) -> AsyncGenerator[bytes, None]:
    stream = request.stream().__aiter__()
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), patience)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise APIError(408, "The upload stopped.", code="timeout", headers={"Connection": "close"}) from error


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
