"""The models that requests can name."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence

from ..checkpoint.sources import PRESETS
from ..errors import NanoASRError
from ..recognizer import Recognizer, load
from .errors import APIError, from_library

MOST_LOADED = 4  # by requests, besides those that the server was started with
_HUB_ID = re.compile(r"(hf:|ms:)?\w[\w.-]*/\w[\w.-]*(@[\w.-]+)?")


class Models:
    """Recognizers by name; the first is the default of realtime sessions that name none."""

    def __init__(
        self,
        loaded: Mapping[str, Recognizer],
        *,
        aliases: Sequence[str] = (),
        allow_load: bool = False,
        load: Callable[[str], Recognizer] = load,
    ):
        self._given = loaded  # may change while the server runs
        self._aliases = tuple(aliases)
        self._allow_load, self._load = allow_load, load
        self._added: dict[str, Recognizer] = {}
        self._loading: dict[str, asyncio.Task] = {}
        self._created = int(time.time())

    @property
    def names(self) -> list[str]:
        """What is loaded; aliases of the default last."""
        return [*self._given, *self._added, *self._aliases]

    @property
    def default(self) -> str:
        """The name of the model to use where none is named."""
        return next(iter(self._given))

    def describe(self, name: str) -> dict[str, object]:
        """Describe a model as `/v1/models` lists it."""
        if name not in self.names:
            raise _unknown(name, self.names)
        return {"id": name, "object": "model", "created": self._created, "owned_by": "nanoasr"}

    async def get(self, name: str) -> Recognizer:
        """Return the recognizer of that name; load it where the server allows that, else raise a 404."""
        name = self.default if name in self._aliases else name
        for loaded in (self._given, self._added):
            if name in loaded:
                return loaded[name]
        if not (self._allow_load and _may_be_loaded(name)):
            raise _unknown(name, self.names)
        if name not in self._loading:
            if len(self._added) + len(self._loading) >= MOST_LOADED:
                raise APIError(
                    503, f"{MOST_LOADED} models were loaded already; restart the server to change them.",
                    code="too_many_models", param="model",
                )  # fmt: skip
            self._loading[name] = asyncio.ensure_future(self._add(name))
        return await asyncio.shield(self._loading[name])  # others may wait for it too

    async def _add(self, name: str) -> Recognizer:
        try:
            self._added[name] = await asyncio.to_thread(self._load, name)
            return self._added[name]
        except NanoASRError as error:
            raise from_library(error) from error
        finally:
            del self._loading[name]


def _may_be_loaded(name: str) -> bool:
    """Return True for presets and hub ids; never for a folder, so that requests cannot explore this machine."""
    return name in PRESETS or (_HUB_ID.fullmatch(name) is not None and not os.path.exists(name))


def _unknown(name: str, names: Sequence[str]) -> APIError:
    message = f"The model {name[:100]!r} is not loaded here; there is {', '.join(names)}."
    return APIError(404, message, code="model_not_found", param="model")
