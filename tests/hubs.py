"""A server on this machine that answers as Hugging Face and ModelScope do, for the tests of downloads."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked."""

    repositories: dict[str, Path]
    url: str = ""
    listed: list[dict] = field(default_factory=list)  # further entries of ModelScope's list of files
    break_after: int | None = None  # bytes of a file after which the connection closes, once
    ranges: bool = True
    corrupt: bool = False
    failing: int = 0  # so many answers of status 502 come first
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # files, with the Range asked for

    def files(self, name: str) -> dict[str, bytes]:
        """The files of a repository by path."""
        folder = self.repositories[name]
        found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        return found | {"example/zh.mp3": b"not needed", "README.md": b"not needed"}


@contextmanager
def serve(**repositories: Path) -> Iterator[Hub]:
    """Serve repositories; "__" in a keyword stands for the slash of a name, "_" elsewhere for itself."""
    hub = Hub({name.replace("__", "/"): folder for name, folder in repositories.items()})

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)  # seconds to its end
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.state.failing:
            self.state.failing -= 1
            self._send(502, b"bad gateway")
        elif path.startswith("/api/v1/models/"):
            self._modelscope(*path.removeprefix("/api/v1/models/").split("/", 3), query)
        elif path.startswith("/api/models/"):
            self._hugging_face(*path.removeprefix("/api/models/").split("/"))
        else:
            owner, name, _, _, file = path.removeprefix("/").split("/", 4)
            content = self.state.files(f"{owner}/{name}")[file]
            tag = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            self._send_file(file, content, tag)

    def _modelscope(self, owner: str, name: str, repo: str, *rest: object) -> None:
        query, name = rest[-1], f"{owner}/{name}"
        if name not in self.state.repositories or query["Revision"] not in ("master", "v2"):
            self._send_json(
                404, {"Code": 10010205001, "Message": "获取模型版本失败，信息：record not found", "Success": False}
            )
        elif rest[0] == "files":
            entries = [
                {
                    "Name": Path(path).name,
                    "Path": path,
                    "Type": "blob",
                    "Size": len(content),
                    "Sha256": hashlib.sha256(content).hexdigest(),
                    "Revision": COMMIT,
                }
                for path, content in self.state.files(name).items()
            ]
            folders = [{"Name": "example", "Path": "example", "Type": "tree", "Size": 0, "Sha256": ""}]
            self._send_json(
                200, {"Code": 200, "Data": {"Files": folders + entries + self.state.listed}, "Success": True}
            )
        else:
            self._send_file(query["FilePath"], self.state.files(name)[query["FilePath"]], {})

    def _hugging_face(self, owner: str, name: str, kind: str, *_: str) -> None:
        name = f"{owner}/{name}"
        if name not in self.state.repositories:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return
        files = self.state.files(name)
        if kind == "revision":
            self._send_json(200, {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})
        else:
            oid = {path: hashlib.sha1(content).hexdigest() for path, content in files.items()}
            self._send_json(
                200, [{"type": "file", "path": path, "size": len(x), "oid": oid[path]} for path, x in files.items()]
            )

    def _send_file(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        asked = self.headers.get("Range")
        if self.command == "GET":
            self.state.asked.append((path, asked))
        if self.state.corrupt:
            content = bytes(len(content))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.state.ranges else 0
        if start >= len(content) > 0:
            self._send(416, b"")
        elif start:
            span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._send(206, content[start:], headers | span)
        else:
            self._send(200, content, headers)

    def _send_json(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value, ensure_ascii=False).encode())

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.state.break_after
        if limit is not None and len(content) > limit:
            self.state.break_after = None
            self.wfile.write(content[:limit])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
        else:
            self.wfile.write(content)
