"""The folder of uploads and downloads: one per server, private, bounded, and deleted when the server stops."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

SWEEP_SECONDS = 60.0
KEEP_SECONDS = 3600.0
ABANDONED_SECONDS = 120.0  # an upload that has not grown for so long was aborted
_PREFIX, _LOCK = "nanoasr-server-", ".lock"


class Storage:
    """A folder for this process's uploads and downloads, at most `most_bytes` large.

    Files are deleted an hour after they were last written or handed out, sooner if space is needed. A lock marks the
    folder as in use, so that the next server deletes what a killed one left behind.
    """

    def __init__(self, most_bytes: int, parent: str | Path | None = None):
        parent = Path(parent or os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).absolute()
        parent.mkdir(parents=True, exist_ok=True)
        delete_leftovers(parent)
        self.most_bytes = most_bytes
        self._room = (float("-inf"), most_bytes)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # readable by this user only
        new = self.folder / f"{_LOCK}.new"
        self._lock = new.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new.rename(self.folder / _LOCK)  # locked before others see it
        self._closed = threading.Event()
        threading.Thread(target=self._sweep_regularly, name="nanoasr-storage", daemon=True).start()

    def room(self) -> int:
        """Bytes that may still be stored, measured once a second; old files make way once there are none."""
        measured, room = self._room
        if time.monotonic() - measured > 1:
            room = self.most_bytes - sum(size for _, size, _ in self._files())
            room = room if room > 0 else self.most_bytes - self.sweep()
            self._room = time.monotonic(), room
        return room

    def sweep(self) -> int:
        """Delete old files, and the oldest of the others while the folder is too large. Return the bytes left."""
        now, kept = time.time(), 0
        for path, size, written in sorted(self._files(), key=lambda file: -file[2]):
            keep = ABANDONED_SECONDS if path.parent == self.folder else KEEP_SECONDS
            if now - written > keep or kept + size > self.most_bytes:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # the folder has another file
                    path.parent.rmdir()
            else:
                kept += size
        return kept

    def close(self) -> None:
        """Delete the folder."""
        self._closed.set()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _files(self) -> list[tuple[Path, int, float]]:
        found = []
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names if name != _LOCK):
                with contextlib.suppress(OSError):
                    state = path.lstat()
                    found.append((path, state.st_size, max(state.st_mtime, state.st_ctime)))
        return found

    def _sweep_regularly(self) -> None:
        while not self._closed.wait(SWEEP_SECONDS):
            self.sweep()


def delete_leftovers(parent: Path) -> None:
    """Delete the folders of servers that were killed: those that nobody has locked."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
