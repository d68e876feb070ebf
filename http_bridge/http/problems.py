"""Errors as HTTP answers, with the statuses of RFC 9110 section 15.

A service names the statuses of its own errors in its ``service.toml``.
"""

from asyncio import CancelledError, current_task
from collections.abc import Iterable
from http import HTTPStatus

import structlog
from pydantic import BaseModel

from http_bridge.asgi.irregular import RequestTimeout
from http_bridge.asgi.messages import HttpRequest, HttpResponse, with_usual
from http_bridge.http.metrics import HttpMetrics
from postroad.contracts.errors import InternalError, OutcomeUnknown, ServiceError, Unavailable
from postroad.ids import new_id
from postroad.observability.metrics import OTHER

log = structlog.get_logger()

HTTP_STATUS: dict[str, int] = {
    "invalid_request": HTTPStatus.BAD_REQUEST,
    "invalid_credentials": HTTPStatus.UNAUTHORIZED,
    "invalid_refresh_token": HTTPStatus.UNAUTHORIZED,
    "not_authenticated": HTTPStatus.UNAUTHORIZED,
    "not_authorised": HTTPStatus.FORBIDDEN,
    "cross_site": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    RequestTimeout.code: HTTPStatus.REQUEST_TIMEOUT,
    "body_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "unknown_host": HTTPStatus.MISDIRECTED_REQUEST,
    "too_many_attempts": HTTPStatus.TOO_MANY_REQUESTS,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "upstream_failed": HTTPStatus.BAD_GATEWAY,
    "peer_error": HTTPStatus.BAD_GATEWAY,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "outcome_unknown": HTTPStatus.SERVICE_UNAVAILABLE,  # repeating changes nothing, so far
    "upstream_busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "reply_timeout": HTTPStatus.GATEWAY_TIMEOUT,
}


class NotFound(ServiceError):
    code = "not_found"
    title = "There is nothing at this address"


class MethodNotAllowed(ServiceError):
    code = "method_not_allowed"
    title = "This address does not take this method"
    _allowed = ""  # one that came from elsewhere does not say

    def __init__(self, *, allowed: str) -> None:
        super().__init__(f"use {allowed}")
        self._allowed = allowed

    @property
    def allowed(self) -> str:
        return self._allowed


def allowed(methods: Iterable[str]) -> str:
    """Return what ``Allow`` says; whoever answers GET answers HEAD (RFC 9110 section 9.1)."""
    return ", ".join(methods).replace("GET", "GET, HEAD")


class UnsupportedMediaType(ServiceError):
    code = "unsupported_media_type"
    title = "The body must be JSON"


class BodyTooLarge(ServiceError):
    code = "body_too_large"
    title = "The body is too large"


class CrossSite(ServiceError):
    code = "cross_site"
    title = "The request comes from another site"


class UnknownHost(ServiceError):
    code = "unknown_host"
    title = "This server is not known by this name"


class HttpProblem(BaseModel):
    """An error (RFC 9457). ``code`` is stable; ``error`` repeats ``detail``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    error: str


def status_of(error: ServiceError | type[ServiceError]) -> int:
    """Return an error's status; 502 for one of a service that does not name it."""
    return HTTP_STATUS.get(error.code, HTTPStatus.BAD_GATEWAY)


def problem_response(error: ServiceError, request_id: str) -> HttpResponse:
    """Answer with a problem object (RFC 9457); ``error`` repeats the detail for older clients."""
    status = status_of(error)
    detail = str(error)
    body = HttpProblem(
        type=f"urn:postroad:problem:{error.code}",
        title=error.title,
        status=status,
        detail=detail,
        code=error.code,
        request_id=request_id,
        error=detail,
    )
    headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", _challenge(error)))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return HttpResponse(status, body.model_dump_json().encode(), headers, error.timing)


def refused(error: ServiceError, metrics: HttpMetrics) -> HttpResponse:
    """Answer what never became a request; it is counted and logged as requests are."""
    request_id = new_id()
    response = problem_response(error, request_id)
    response.headers = with_usual(response.headers, request_id)
    metrics.add(OTHER, OTHER, int(response.status), 0.0)
    log.info(
        "no http",
        status=int(response.status),
        outcome=error.code,
        reason=str(error),
        request_id=request_id,
    )
    return response


def why_cancelled(request: HttpRequest, cancelled: CancelledError) -> ServiceError:
    """Return the error of a request that was cancelled.

    uvicorn cancels the task of a request when it stops and has waited for long enough. If nobody
    cancelled the task, what it waited for was cancelled, which is a bug.
    """
    task = current_task()
    if task is None or not task.cancelling():
        log.error(
            "bridge failed",
            path=request.path,
            request_id=request.request_id,
            exc_info=cancelled,
        )
        return InternalError()
    kind = Unavailable if request.method in ("GET", "HEAD") else OutcomeUnknown
    return kind("the bridge stops")


def _challenge(error: ServiceError) -> bytes:
    """Return how to authenticate (RFC 6750 section 3)."""
    realm = b'Bearer realm="postroad"'
    if error.code == "not_authenticated" and str(error) != NOTHING_GIVEN:
        realm += b', error="invalid_token"'
    return realm


NOTHING_GIVEN = "sign in first: no token in the Authorization header or the cookie"
