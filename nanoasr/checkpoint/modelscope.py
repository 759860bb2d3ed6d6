"""Download checkpoints from ModelScope through its public HTTP API.

The official clients would add 70 MB (`modelscope`) or 20 MB with cryptography (`modelscope-hub`) to the installation
for two GET requests: one lists the files with their sizes and SHA-256, the other gives a file, with ranges.

The cache is laid out like Hugging Face's: `blobs/` holds files by their hash, `snapshots/` folders of links to them,
`refs/` the snapshot of each revision. A snapshot appears when it is complete.
"""

import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from tqdm import tqdm

from ..errors import HubError
from .folder import cache_folder

Result = TypeVar("Result")
_ENDPOINT = "https://modelscope.cn"
_TIMEOUT = 15  # seconds without a byte
_CHUNK = 1 << 20
_MAX_LISTING = 16 << 20
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class _File:
    path: str
    size: int
    sha256: str


def download(name: str, revision: str, patterns: Sequence[str]) -> Path:
    """Return a folder with the files of the repository "owner/name" that match, downloading what is not cached.

    Without a network, or with HF_HUB_OFFLINE=1, it is the snapshot that was downloaded last.
    """
    root = cache_folder() / "modelscope" / name.replace("/", "--")
    ref = root / "refs" / urllib.parse.quote(revision, safe="")
    try:
        if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
            raise OSError("HF_HUB_OFFLINE is set")
        files = _list_files(name, revision, patterns)
    except _NETWORK_ERRORS as problem:
        if cached := _cached_snapshot(root, ref):
            return cached
        raise HubError(
            f"{name}: could not be downloaded from ModelScope, and is not in the local cache ({problem!s:.300}). "
            "Check the network, set MODELSCOPE_ENDPOINT to a mirror, or name a local folder"
        ) from None
    try:
        snapshot = root / "snapshots" / _digest(files)
        if not snapshot.is_dir():
            _fetch_all(name, revision, files, root)
            _link(files, root, snapshot)
        _write_text(ref, snapshot.name)
    except _NETWORK_ERRORS as problem:
        raise HubError(
            f"{name}: the download from ModelScope failed ({problem!s:.300}); call again to resume it"
        ) from None
    return snapshot


def _url(name: str, path: str, **query: str) -> str:
    endpoint = (os.environ.get("MODELSCOPE_ENDPOINT") or _ENDPOINT).rstrip("/")
    return f"{endpoint}/api/v1/models/{name}/{path}?{urllib.parse.urlencode(query)}"


def _open(url: str, start: int = 0) -> http.client.HTTPResponse:
    headers = {"User-Agent": "nanoasr", "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)


def _read_json(url: str) -> dict:
    with _open(url) as response:
        data = response.read(_MAX_LISTING)
    try:
        return json.loads(data)
    except ValueError:
        raise OSError("an answer was cut short, or is not JSON") from None


def _retry(work: Callable[[], Result], attempts: int) -> Result:
    for attempt in range(attempts - 1):
        try:
            return work()
        except _NETWORK_ERRORS as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in (400, 401, 403, 404):
                raise
            time.sleep(0.5 * 2**attempt)
    return work()


def _list_files(name: str, revision: str, patterns: Sequence[str]) -> list[_File]:
    try:
        answer = _retry(lambda: _read_json(_url(name, "repo/files", Revision=revision, Recursive="True")), attempts=2)
        listed = [
            _File(f["Path"], f.get("Size"), str(f.get("Sha256")).lower())
            for f in answer["Data"]["Files"]
            if f["Type"] != "tree"
        ]
    except urllib.error.HTTPError as error:
        if error.code not in (400, 401, 403, 404):
            raise
        reason = error.read(2000).decode(errors="replace").strip() or error.reason
        raise HubError(
            f"{name}: no such repository or revision ({revision}) on ModelScope, or it is private ({reason:.300})"
        ) from None
    except (LookupError, TypeError, RecursionError):
        raise HubError(f"{name}: ModelScope's list of files cannot be read; try again later") from None
    for file in listed:
        parts = PurePosixPath(file.path).parts if isinstance(file.path, str) else ("/",)
        if not parts or parts[0] == "/" or ".." in parts or re.search(r"[\\\0]", file.path):
            raise HubError(f"{name}: ModelScope lists a file outside of its repository ({file.path!r:.100}); refused")
    found = [file for file in listed if any(fnmatch(file.path, pattern) for pattern in patterns)]
    for file in found:
        if not re.fullmatch("[0-9a-f]{64}", file.sha256) or type(file.size) is not int or file.size < 0:
            raise HubError(f"{name}: ModelScope gives no size and checksum for {file.path:.100}; try again later")
    if not found:
        raise HubError(f"{name}: this repository on ModelScope holds none of the files of a checkpoint")
    return found


def _digest(files: list[_File]) -> str:
    lines = sorted(f"{file.path}\0{file.sha256}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _cached_snapshot(root: Path, ref: Path) -> Path | None:
    snapshot = root / "snapshots" / ref.read_text() if ref.is_file() else None
    return snapshot if snapshot and snapshot.is_dir() else None


def _fetch_all(name: str, revision: str, files: list[_File], root: Path) -> None:
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    total = sum(file.size for file in files)
    there = sum(path.stat().st_size for path in (root / "blobs").iterdir())
    free = shutil.disk_usage(root).free
    if total - there > free:
        raise HubError(f"{name}: needs {total - there:,} bytes in {root}, where {free:,} are free")
    with tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        for file in files:
            _fetch(name, revision, file, root / "blobs" / file.sha256, bar)


def _fetch(name: str, revision: str, file: _File, blob: Path, bar: tqdm) -> None:
    """Download one file to `blob`, going on from what an interrupted download left."""
    incomplete = blob.with_name(f"{blob.name}.incomplete")
    with incomplete.open("ab") as out:
        fcntl.flock(out, fcntl.LOCK_EX)  # another process may be downloading it
        if blob.is_file():
            incomplete.unlink(missing_ok=True)
            bar.update(file.size)
            return
        bar.update(out.tell())
        url = _url(name, "repo", Revision=revision, FilePath=file.path)
        _retry(lambda: _append(url, out, file.size, bar), attempts=5)
        out.flush()
        if _sha256(incomplete) != file.sha256:
            incomplete.unlink()
            raise HubError(f"{name}: {file.path} from ModelScope does not have its checksum; download it again")
        os.replace(incomplete, blob)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _append(url: str, out: BinaryIO, size: int, bar: tqdm) -> None:
    if out.tell() > size:
        _restart(out, bar)
    if out.tell() == size:
        return
    try:
        response = _open(url, out.tell())
    except urllib.error.HTTPError as error:
        if error.code == 416:
            _restart(out, bar)
        raise
    with response:
        if out.tell() and response.status != 206:
            _restart(out, bar)  # it sends the whole file
        while chunk := response.read(_CHUNK):
            if out.tell() + len(chunk) > size:
                _restart(out, bar)
                raise OSError(f"the server sends more than the {size:,} bytes it lists")
            out.write(chunk)
            bar.update(len(chunk))
    if out.tell() < size:
        raise OSError(f"the connection closed after {out.tell():,} of {size:,} bytes")


def _restart(out: BinaryIO, bar: tqdm) -> None:
    bar.update(-out.tell())
    out.truncate(0)
    out.seek(0)


def _link(files: list[_File], root: Path, snapshot: Path) -> None:
    partial = snapshot.with_name(f"{snapshot.name}.{os.getpid()}")
    for file in files:
        link = partial / file.path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(root / "blobs" / file.sha256, link.parent))
    try:
        partial.rename(snapshot)
    except OSError:  # another process was first
        shutil.rmtree(partial)
        if not snapshot.is_dir():
            raise


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)
