"""Getting JSON over HTTP from a server that may be slow, broken or hostile."""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urljoin, urlsplit

import requests
import structlog
from circuitbreaker import CircuitBreaker
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.stop import stop_before_delay

from catalog_worker.settings import CatalogSettings
from shared.contracts.errors import ServiceError, UpstreamBusy, UpstreamFailed
from shared.messaging.call import current_call

log = structlog.get_logger()

CHUNK_BYTES = 64 * 1024
MAX_REDIRECTS = 3
LONGEST_WAIT_S = 3600
SHORTEST_WAIT_S = 0.05
MAY_PASS = frozenset({500, 502, 503, 504})  # worth another attempt


class _Passing(Exception):
    """A failure that may pass: another attempt is worth its time. ``error`` is what it means."""

    def __init__(self, error: ServiceError, *, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer: ``body`` is none when there is no such thing, or it has not changed."""

    body: bytes | None
    etag: str | None = None
    is_unchanged: bool = False


class Fetcher:
    """GETs from one server, within the deadline of the request being answered.

    Tries again what may pass; gives a server that keeps failing a rest (a circuit breaker).
    Safe to use from several threads: each has a session, and so a connection, of its own.
    """

    def __init__(self, settings: CatalogSettings) -> None:
        self._settings = settings
        self._base_url = str(settings.upstream_url).rstrip("/")
        self._local = threading.local()
        self.breaker = CircuitBreaker(
            failure_threshold=settings.breaker_failures,
            recovery_timeout=settings.breaker_rest_s,
            expected_exception=UpstreamFailed,
            name="upstream",
        )

    def get(
        self, path: str, parameters: Mapping[str, str | int], *, etag: str | None = None
    ) -> Fetched:
        """GET a path; ``etag`` is that of an answer which is at hand.

        Raises:
            UpstreamFailed: the server is away, too slow, or does not answer JSON.
            UpstreamBusy: it asks us to slow down.
        """
        if self.breaker.opened:
            raise UpstreamFailed(
                "the product source keeps failing, and is given a rest",
                retry_after_s=max(1, self.breaker.open_remaining),
            )
        deadline = monotonic() + self._time_left_s()
        retrying = Retrying(
            retry=retry_if_exception_type(_Passing),
            stop=stop_after_attempt(self._settings.upstream_attempts)
            | stop_before_delay(deadline - monotonic()),
            wait=self._pause_s,
            reraise=True,
        )
        try:
            with self.breaker:
                try:
                    return retrying(self._get, path, parameters, etag, deadline)
                except _Passing as failure:
                    raise failure.error from failure.__cause__
        except UpstreamFailed as error:
            log.warning("upstream failed", path=path, reason=str(error))
            raise

    def _get(
        self, path: str, parameters: Mapping[str, str | int], etag: str | None, deadline: float
    ) -> Fetched:
        url, query = self._base_url + path, parameters or None
        headers = {"If-None-Match": etag} if etag else {}
        for _ in range(MAX_REDIRECTS + 1):
            left_s = max(0.01, deadline - monotonic())
            try:
                with self._session().get(
                    url,
                    params=query,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(
                        min(self._settings.upstream_connect_timeout_s, left_s),
                        min(self._settings.upstream_read_timeout_s, left_s),
                    ),
                ) as response:
                    if not response.is_redirect:
                        return self._read(response, deadline)
                    url, query = _redirect_target(response), None
            except requests.RequestException as error:
                failure = UpstreamFailed(f"the product source {_failure(error)}")
                raise _Passing(failure) from error
        raise UpstreamFailed("the product source redirects without end")

    def _read(self, response: requests.Response, deadline: float) -> Fetched:
        status = response.status_code
        if status == requests.codes.not_modified:
            return Fetched(None, is_unchanged=True)
        if status == requests.codes.too_many_requests:
            wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
            busy = UpstreamBusy("the product source asks us to slow down", retry_after_s=wait_s)
            raise _Passing(busy, wait_s=wait_s)
        if status in MAY_PASS:
            raise _Passing(UpstreamFailed(f"the product source answered {status}"))
        is_json = "json" in response.headers.get("Content-Type", "")
        if status == requests.codes.not_found and is_json:
            return Fetched(None)
        if status != requests.codes.ok:
            raise UpstreamFailed(f"the product source answered {status}")
        if not is_json:
            raise UpstreamFailed("the product source did not answer JSON")
        return Fetched(self._read_body(response, deadline), response.headers.get("ETag"))

    def _read_body(self, response: requests.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            body += chunk
            if len(body) > self._settings.upstream_body_max_bytes:
                raise UpstreamFailed("the product source answered too much")
            if monotonic() > deadline:  # a read time-out alone would let it trickle for ever
                raise UpstreamFailed("the product source is too slow")
        return bytes(body)

    def _pause_s(self, attempt: RetryCallState) -> float:
        """Wait as long as the server asks; else a growing, jittered time."""
        failure = attempt.outcome.exception() if attempt.outcome else None
        if isinstance(failure, _Passing) and failure.wait_s is not None:
            return failure.wait_s
        longest_s = SHORTEST_WAIT_S * 2**attempt.attempt_number
        return random.uniform(SHORTEST_WAIT_S, longest_s)  # noqa: S311  # spreads, hides nothing

    def _time_left_s(self) -> float:
        """Seconds to spend on upstream: no longer than somebody waits for us."""
        call = current_call.get(None)
        left_s = call.time_left_s() if call else self._settings.upstream_timeout_s
        return max(0.01, min(left_s, self._settings.upstream_timeout_s))

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["Accept"] = "application/json"
        session: requests.Session = self._local.session
        return session


def _redirect_target(response: requests.Response) -> str:
    """Follow a redirect on the same host alone: upstream does not choose whom we talk to."""
    target = urljoin(response.url, response.headers["Location"])
    if urlsplit(target)[:2] != urlsplit(response.url)[:2]:
        raise UpstreamFailed("the product source redirects elsewhere")
    return target


def _failure(error: requests.RequestException) -> str:
    match error:
        case requests.Timeout():
            return "is too slow"
        case requests.ConnectionError():
            return "cannot be reached"
        case _:
            return "broke off its answer"


def _retry_after_s(header: str) -> int | None:
    """Read ``Retry-After`` in seconds (RFC 9110 section 10.2.3); a date is not understood."""
    is_number = header.isascii() and header.isdigit() and len(header) < 10
    return min(int(header), LONGEST_WAIT_S) if is_number else None
