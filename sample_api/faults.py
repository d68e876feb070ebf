"""The ways in which the sample API can be told to misbehave."""

import random
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

BadAnswer = Literal["500", "429", "html", "nonsense", "truncated", "huge"]
Fault = Literal[BadAnswer, "empty"]  # a good answer, about a catalogue without products

HUGE_BYTES = 32 * 1024 * 1024
_CHUNK = b"x" * 65536


class Faults(BaseSettings):
    """How the sample API misbehaves.  Environment prefix ``SAMPLE_UPSTREAM_``."""

    model_config = SettingsConfigDict(
        env_prefix="SAMPLE_UPSTREAM_", frozen=True, use_attribute_docstrings=True
    )

    delay_ms: int = Field(0, ge=0, le=60_000)
    """Wait this long before each answer."""

    fail_rate: float = Field(0.0, ge=0, le=1)
    """The share of answers that go wrong: 0 for none, 1 for all."""

    # A number in JSON is welcome too: 500 is easily written without its quotes.
    fail_with: Annotated[Fault, BeforeValidator(str)] = "500"
    """What a wrong answer is.  500: a JSON error.  429: the same, with Retry-After.  html: status
    200 and a web page.  nonsense: JSON of another shape.  truncated: the connection closes
    half-way.  huge: 32 MiB of JSON.  empty: a catalogue without products."""

    retry_after_s: int = Field(10, ge=0)
    """The Retry-After of a 429."""

    def draw(self) -> Fault | None:
        """Decide how one answer goes wrong; None is a good answer."""
        fails = random.random() < self.fail_rate  # noqa: S311 - chance, not secrecy
        return self.fail_with if fails else None


def first_problem(error: ValidationError) -> str:
    """Name the first wrong field and what is wrong with it, in one line."""
    first = error.errors()[0]
    return ": ".join([*map(str, first["loc"]), first["msg"]])


def faulty_answer(fault: BadAnswer, faults: Faults) -> Response:
    match fault:
        case "500":
            return JSONResponse({"message": "Internal Server Error"}, 500)
        case "429":
            return JSONResponse(
                {"message": "request limit exceeded, please wait a few seconds"},
                429,
                {"Retry-After": str(faults.retry_after_s)},
            )
        case "html":
            return HTMLResponse("<!DOCTYPE html><title>Back soon</title><h1>Maintenance</h1>")
        case "nonsense":
            return JSONResponse({"products": {"7": None}, "total": "many", "items": [[]]})
        case "truncated":
            return _TruncatedResponse({"products": [{"id": 1, "title": "Half of it"}]})
        case "huge":
            return StreamingResponse(_huge_body(), media_type="application/json")


class _TruncatedResponse(JSONResponse):
    """Announce the whole body, send half of it, and leave: the server closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        half = self.body[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


async def _huge_body() -> AsyncIterator[bytes]:
    """Yield a list of the right shape, so that only a limit on its size can refuse it."""
    yield b'{"products":[],"total":0,"skip":0,"limit":0,"padding":"'
    for _ in range(HUGE_BYTES // len(_CHUNK)):
        yield _CHUNK
    yield b'"}'
