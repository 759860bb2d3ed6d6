"""The one model that all visitors share."""

import enum
import re
import threading
from collections.abc import Callable

import nanoasr

from ..checkpoint.sources import PRESETS
from ..errors import CheckpointError, NanoASRError, OptionError
from ..recognizer import Recognizer

_HUB_ID = re.compile(r"((hf|ms):)?\w[\w.-]*/\w[\w.-]*(@\w[\w.-]*)?", re.ASCII)


class Access(enum.Enum):
    """Which checkpoints visitors may load."""

    NONE = "none"
    NAMED = "presets and repositories of the hub"
    ANY = "folders of this machine, too"

    def permit(self, source: str) -> str:
        """Return a checkpoint's name as `nanoasr.load` takes it, or raise the same error for all that are refused."""
        name = source.strip()
        if self is Access.NONE:
            raise OptionError("Others can reach this page, so no other checkpoint is loaded here.")
        if self is Access.ANY or name in ("bundled", *PRESETS):
            return name
        if _HUB_ID.fullmatch(name):
            return name if ":" in name else f"hf:{name}"  # never a folder of that name
        raise OptionError("Visitors of this page may load only presets and repositories of the hub: owner/name.")


class SharedModel:
    """The loaded recognizer. Another replaces it only once it is complete, so a failed load changes nothing."""

    def __init__(self) -> None:
        self._recognizer: Recognizer | None = None
        self._problem = "No model is loaded yet: choose one on the Model tab."
        self._loading = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self.share = 0.0  # of the weights that are read, while one is loading
        self.version = 0  # counts the loads, so that pages notice another model

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded."""
        return not self._idle.is_set()

    @property
    def recognizer(self) -> Recognizer | None:
        """The recognizer, once there is one."""
        return self._recognizer

    @property
    def problem(self) -> str | None:
        """Why there is no recognizer."""
        return None if self._recognizer else self._problem

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until no model is being loaded; False after `seconds`."""
        return self._idle.wait(seconds)

    def get(self) -> Recognizer:
        """Return the recognizer; wait for the first one to load."""
        if self._recognizer is None:
            self.wait()
        if self._recognizer is None:
            raise CheckpointError(self._problem)
        return self._recognizer

    def load(self, source: str | None, quantize: str | None = None, audio_tokens: str | None = None) -> Recognizer:
        """Load another model, for all visitors."""
        if not self._loading.acquire(blocking=False):
            raise CheckpointError("Another model is being loaded right now; wait until it has loaded.")
        try:
            self.share = 0.0
            self._idle.clear()
            loaded = nanoasr.load(source, quantize=quantize, audio_tokens=audio_tokens, on_progress=self._set_share)
            self._recognizer = loaded
            self.version += 1
            return loaded
        except NanoASRError as error:
            self._problem = str(error)
            raise
        except Exception as error:
            self._problem = f"{source}: could not be loaded ({type(error).__name__}: {error})"
            raise CheckpointError(self._problem) from error
        finally:
            self._idle.set()
            self._loading.release()

    def load_in_background(self, source: str | None, quantize: str | None, on_error: Callable[[str], None]) -> None:
        """Start to load a model and return; the page can be opened meanwhile."""

        def work() -> None:
            try:
                self.load(source, quantize)
            except NanoASRError as error:
                on_error(str(error))

        self._idle.clear()
        threading.Thread(target=work, name="nanoasr-load", daemon=True).start()

    def _set_share(self, share: float) -> None:
        self.share = share
