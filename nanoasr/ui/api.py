"""The OpenAI audio API beside the page, with the page's model."""

import os
from collections.abc import Iterator, Mapping

from starlette.applications import Starlette

from ..errors import OptionError
from ..recognizer import Recognizer
from ..serve import create_app
from ..serve.errors import APIError
from .models import SharedModel

MODEL_NAME = "nanoasr"
KEY_VARIABLE = "NANOASR_API_KEY"


def make_api(shared: SharedModel, *, needs_key: bool, max_minutes: float, max_upload_mb: float) -> Starlette:
    """The API over whatever model the page has, under one name; the key comes from the environment."""
    key = os.environ.get(KEY_VARIABLE) or None
    if needs_key and not key:
        raise OptionError(f"--api with --auth: set {KEY_VARIABLE}, since the login does not protect the API")
    return create_app(_PageModel(shared), api_key=key, max_minutes=max_minutes, max_upload_mb=max_upload_mb)


class _PageModel(Mapping[str, Recognizer]):
    """The page's model by its name, also after another was loaded."""

    def __init__(self, shared: SharedModel):
        self._shared = shared

    def __getitem__(self, name: str) -> Recognizer:
        if name != MODEL_NAME:
            raise KeyError(name)
        if self._shared.recognizer is None:
            problem = "The model is still being loaded." if self._shared.loading else self._shared.problem
            raise APIError(503, problem, code="model_not_ready", headers={"Retry-After": "5"})
        return self._shared.recognizer

    def __contains__(self, name: object) -> bool:
        return name == MODEL_NAME

    def __iter__(self) -> Iterator[str]:
        return iter((MODEL_NAME,))

    def __len__(self) -> int:
        return 1
