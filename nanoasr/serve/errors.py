"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from ..errors import AudioTooLongError, CheckpointError, HubError, NanoASRError

_MESSAGES = {404: "Unknown URL", 405: "Method not allowed on this URL", 500: "The server had an error"}
_CODES = {404: "not_found", 405: "method_not_allowed"}


class APIError(Exception):
    """An error with its HTTP status; `response` is what the client receives."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """The kind of error by OpenAI's names."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    @property
    def error(self) -> dict[str, str | None]:
        """The `error` object."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}

    def response(self) -> JSONResponse:
        """Make the HTTP response."""
        return JSONResponse({"error": self.error}, self.status, self.headers)


class ClientGone(Exception):
    """The client closed the connection."""


def from_library(error: NanoASRError) -> APIError:
    """Convert an error of the recognizer; most are caused by the audio or an option of the request."""
    if isinstance(error, AudioTooLongError):
        return APIError(413, str(error), code="audio_too_long", param="file")
    if isinstance(error, HubError):
        return APIError(404, str(error), code="model_not_found", param="model")
    if isinstance(error, CheckpointError):
        return APIError(500, str(error), code="model_error", param="model")
    return APIError(400, str(error), code="invalid_value")


def server_error() -> APIError:
    """Return a 500; the details are only logged."""
    return APIError(500, _MESSAGES[500], code="internal_error")


async def handle_api_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for APIError."""
    assert isinstance(error, APIError)
    return error.response()


async def handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for Starlette's own 404, 405 and the like."""
    assert isinstance(error, HTTPException)
    message = _MESSAGES.get(error.status_code, error.detail)
    found = APIError(error.status_code, message, code=_CODES.get(error.status_code), headers=error.headers)
    return found.response()
