"""Open and list files by path or URI: local ones directly, others through pyarrow, which fsspec extends."""

import fnmatch
import glob
import io
import posixpath
import re
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import AudioError, OptionError

_REMOTE_BLOCK = 2**20  # bytes of one request; decoders read 10 to 30 KB at a time
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def is_uri(text: str) -> bool:
    """Return True for s3://bucket/key, file:///folder and the like."""
    return bool(_URI.match(text))


def local_path(source: str) -> str | None:
    """Return the path of a local file, also of one given as file://; None for other URIs."""
    if not is_uri(source):
        return source
    parts = urlsplit(source)
    return url2pathname(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def open_binary(source: str) -> BinaryIO:
    """Open a path or a URI for reading; AudioError says why that fails."""
    name = posixpath.basename(source) or source
    try:
        if path := local_path(source):
            return open(path, "rb")
        filesystem, path = _filesystem(source)
        return io.BufferedReader(filesystem.open_input_file(path), _REMOTE_BLOCK)
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened ({error.strerror or error}; {source})") from None


def list_files(uri: str) -> list[str]:
    """List the files that a URI names: itself, all below a folder, or those that match a pattern."""
    import pyarrow.fs as fs

    if path := local_path(uri):
        path = glob.escape(path) if not glob.has_magic(path) else path
        uri = "file://" + path
    prefix, query = split_query(uri)
    pattern = prefix if glob.has_magic(prefix) else None
    folder = re.split(r"[^/]*[*?\[]", prefix, maxsplit=1)[0] if pattern else prefix
    try:
        filesystem, path = _filesystem(folder.rstrip("/") + query)
        [info] = filesystem.get_file_info([path])
        if info.type == fs.FileType.File:
            return [uri]
        infos = filesystem.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    except OSError as error:
        raise OptionError(f"{uri}: cannot be listed ({error.strerror or error})") from None
    scheme = urlsplit(uri).scheme
    paths = [info.path for info in infos if info.type == fs.FileType.File]
    found = sorted(path if is_uri(path) else f"{scheme}://{path}" for path in paths)
    return [path + query for path in found if not pattern or fnmatch.fnmatchcase(path, pattern)]


def split_query(uri: str) -> tuple[str, str]:
    """Split off what follows a ? in s3:// and gs:// URIs, where pyarrow takes options; elsewhere ? is a wildcard."""
    if uri.startswith(("s3://", "gs://", "gcs://")):
        path, mark, query = uri.partition("?")
        return (path, mark + query) if "=" in query else (uri, "")
    return uri, ""


def _filesystem(uri: str):
    """Return the file system of a URI, and the path in it."""
    try:
        import pyarrow as pa
        import pyarrow.fs as fs
    except ImportError:
        raise OptionError(f'{uri}: needs pyarrow: pip install "nanoasr[ray]"') from None
    try:
        return fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        reason = error
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise OptionError(f"{uri}: neither pyarrow ({reason}) nor fsspec ({error}) can read it") from None
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
