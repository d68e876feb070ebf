"""Getting JSON over HTTP from a server that may be slow, broken or hostile."""

import itertools
import random
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from math import ceil
from time import monotonic, sleep, time
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import structlog
import urllib3
from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, CircuitBreaker
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.stop import stop_before_delay

from catalog_worker.catalog.bodies import plain, read_body
from catalog_worker.catalog.fetch_counts import FetchCounts
from catalog_worker.catalog.session import new_session, waiting_until
from catalog_worker.settings import CatalogSettings
from postroad.context import current_context
from postroad.contracts.errors import ServiceError, UpstreamBusy, UpstreamFailed
from postroad.observability.http_spans import asking

log = structlog.get_logger()

MAX_REDIRECTS = 3
LONGEST_WAIT_S = 3600
SHORTEST_WAIT_S = 0.05
REPLY_S = 0.05  # of the deadline, for our own answer to travel in
FAIR_SHARE = 0.5  # of upstream's time; one that had less was late when it came to us
TIMER_S = 0.01  # a time-out may come so much early
MAY_PASS = frozenset({500, 502, 503, 504})  # worth another attempt


class TransientError(Exception):
    """A failure that may pass: another attempt is worth its time. ``error`` is what it means."""

    def __init__(self, error: ServiceError, *, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait_s = wait_s


class _Refused(UpstreamFailed):
    """This one request is refused: no reason to give the server a rest."""

    code = UpstreamFailed.code


class DeadlineTooShort(UpstreamFailed):
    """Too slow, but it came to us late and had little time: a queue's fault, not the server's."""

    code = UpstreamFailed.code


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

    While the server rests, calls fail at once. With ``wait_when_open`` they wait for it to be asked
    again: a job may fail a few times only, and is not to be given up for what nobody asked.
    """

    def __init__(self, settings: CatalogSettings, *, wait_when_open: bool = False) -> None:
        self._settings = settings
        self._is_patient = wait_when_open
        self._base_url = settings.upstream_url.rstrip("/")
        self._local = threading.local()
        self.breaker = CircuitBreaker(
            failure_threshold=settings.breaker_failures,
            recovery_timeout=settings.breaker_rest_s,
            expected_exception=_wants_rest,
            name="upstream",
        )
        self._probe = threading.Lock()
        self.counts = FetchCounts()

    def get(
        self, path: str, parameters: Mapping[str, str | int], *, etag: str | None = None
    ) -> Fetched:
        """GET a path; ``etag`` is that of an answer which is at hand.

        Raises:
            UpstreamFailed: the server is away, too slow, or does not answer JSON.
            UpstreamBusy: it asks us to slow down.
        """
        with self._turn():
            left_s = self._time_left_s()
            if left_s <= 0:  # it waited for a thread, for which upstream is not to blame
                raise UpstreamFailed("no time is left to ask the product source")
            with self.breaker, self.counts.counting():
                return self._get_in_time(path, parameters, etag, left_s)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let calls through to a server that works, and one at a time to one that has rested."""
        is_probe = not self.breaker.closed and self._takes_probe()
        try:
            yield
        finally:
            if is_probe:
                self._probe.release()

    def _takes_probe(self) -> bool:
        """Be the one that tries a server which has rested; false if it has turned out well."""
        is_mine = self._probe.acquire(blocking=False)
        if self._is_patient:
            if is_mine:
                sleep(max(0, self.breaker.open_remaining))
            else:
                is_mine = self._probe.acquire()  # within a rest and a call, which tells us, too
        state = self.breaker.state
        if is_mine and state == STATE_HALF_OPEN:
            return True
        if is_mine:
            self._probe.release()
        if state == STATE_CLOSED:
            return False
        raise UpstreamFailed(
            "the product source keeps failing, and is given a rest",
            retry_after_s=max(1, self.breaker.open_remaining),
        )

    def _get_in_time(
        self, path: str, parameters: Mapping[str, str | int], etag: str | None, left_s: float
    ) -> Fetched:
        deadline = monotonic() + left_s
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self._settings.upstream_attempts) | stop_before_delay(left_s),
            wait=self._pause_s,
            before_sleep=self.counts.count_retry,
            reraise=True,
        )
        try:
            return retrying(self._get, path, parameters, etag, deadline, itertools.count())
        except TransientError as failure:
            log.warning("upstream failed", path=path, reason=str(failure))
            if self._was_hurried(left_s, deadline):
                raise DeadlineTooShort(str(failure)) from failure.__cause__
            raise failure.error from failure.__cause__
        except UpstreamFailed as error:
            log.warning("upstream failed", path=path, reason=str(error))
            if self._was_hurried(left_s, deadline):
                raise DeadlineTooShort(str(error)) from error
            raise

    def _get(
        self,
        path: str,
        parameters: Mapping[str, str | int],
        etag: str | None,
        deadline: float,
        sent: Iterator[int],
    ) -> Fetched:
        url, query = self._base_url + path, parameters or None
        headers = {"If-None-Match": etag} if etag else {}
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with (
                    waiting_until(deadline),
                    asking("GET", url, headers, resends=next(sent)) as asked,
                    self._session().get(
                        url,
                        params=query,
                        headers=headers,
                        stream=True,
                        allow_redirects=False,
                        verify=str(self._settings.upstream_ca_file or "") or None,
                        timeout=self._timeout(deadline),  # type: ignore[arg-type]  # stubs lag
                    ) as response,
                ):
                    asked.status = response.status_code
                    if not response.is_redirect:
                        return self._read(response)
                    url, query = _redirect_target(response), None
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise _failure(error) from error
        raise UpstreamFailed("the product source redirects without end")

    def _read(self, response: requests.Response) -> Fetched:
        status = response.status_code
        if status == requests.codes.not_modified and "If-None-Match" in response.request.headers:
            return Fetched(None, is_unchanged=True)
        wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
        if status == requests.codes.too_many_requests:
            busy = UpstreamBusy("the product source asks us to slow down", retry_after_s=wait_s)
            raise TransientError(busy, wait_s=wait_s)
        if status in MAY_PASS:
            failure = UpstreamFailed(f"the product source answered {status}", retry_after_s=wait_s)
            raise TransientError(failure, wait_s=wait_s)
        content_type = response.headers.get("Content-Type", "")
        is_json = "json" in content_type.lower()
        if status == requests.codes.not_found and is_json:
            return Fetched(None)
        if 400 <= status < 500:
            raise _Refused(f"the product source answered {status}")
        if status != requests.codes.ok:
            raise UpstreamFailed(f"the product source answered {status}")
        if not is_json:
            what = plain(content_type, 80) or "something without a Content-Type"
            raise UpstreamFailed(f"the product source did not answer JSON, but {what}")
        body = read_body(response, most_bytes=self._settings.upstream_body_max_bytes)
        return Fetched(body, response.headers.get("ETag"))

    def _pause_s(self, attempt: RetryCallState) -> float:
        """Wait a growing, jittered time, on top of what the server asks for."""
        failure = attempt.outcome.exception() if attempt.outcome else None
        asked_s = failure.wait_s if isinstance(failure, TransientError) else None
        longest_s = SHORTEST_WAIT_S * 2**attempt.attempt_number
        jitter_s = random.uniform(SHORTEST_WAIT_S, longest_s)  # noqa: S311  # spreads, hides nothing
        return (asked_s or 0) + jitter_s

    def _time_left_s(self) -> float:
        """Seconds to spend on upstream: no longer than somebody waits for us."""
        longest_s = self._settings.upstream_timeout_s
        call = current_context.get(None)
        return min(call.time_left_s() - REPLY_S, longest_s) if call else longest_s

    def _was_hurried(self, left_s: float, deadline: float) -> bool:
        """Tell whether a call ran out of time and had little from the start."""
        is_over = monotonic() > deadline - TIMER_S
        return is_over and left_s < FAIR_SHARE * self._settings.upstream_timeout_s

    def _timeout(self, deadline: float) -> urllib3.Timeout:
        """Limit connecting, and each wait for bytes; their sum is bounded by the session."""
        return urllib3.Timeout(
            total=max(0.01, deadline - monotonic()),
            connect=self._settings.upstream_connect_timeout_s,
            read=self._settings.upstream_read_timeout_s,
        )

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = new_session(self._base_url)
        session: requests.Session = self._local.session
        return session


def _wants_rest(_: type[BaseException], error: BaseException) -> bool:
    """Tell the breaker what a failure is."""
    return isinstance(error, UpstreamFailed) and not isinstance(error, _Refused | DeadlineTooShort)


def _redirect_target(response: requests.Response) -> str:
    """Follow a redirect on the same host alone: upstream does not choose whom we talk to."""
    asked = urlsplit(response.url)
    try:
        target = urlsplit(urljoin(response.url, response.headers["Location"]))
        is_same_host = _origin(target) == _origin(asked)
    except ValueError as error:
        raise UpstreamFailed("the product source redirects to no address") from error
    if not is_same_host:
        raise UpstreamFailed("the product source redirects elsewhere")
    return target._replace(netloc=asked.netloc).geturl()  # with our user and password, if any


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    default_port = 443 if url.scheme == "https" else 80
    return url.scheme, url.hostname, url.port or default_port  # RFC 6454 section 4


def _failure(error: Exception) -> TransientError | UpstreamFailed:
    """Return the failure of a request. An untrusted certificate is not retried."""
    match error:
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            what = "is too slow"
        case requests.exceptions.SSLError():
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, ssl.SSLError):
                cause = cause.__context__
            if isinstance(cause, ssl.SSLCertVerificationError):
                return UpstreamFailed(
                    f"the product source has a certificate that is not trusted: "
                    f"{cause.verify_message}"
                )
            reason = getattr(cause, "reason", None)  # the error itself names hosts and paths
            what = f"cannot be reached by TLS: {reason}" if reason else "cannot be reached by TLS"
        case requests.exceptions.ProxyError() | requests.exceptions.InvalidProxyURL():
            what = "cannot be reached through the proxy that the environment names"
        case requests.exceptions.InvalidSchema():
            what = "cannot be reached: the environment names a proxy of a kind that we do not know"
        case requests.ConnectionError():
            what = _lost(error)
        case _:
            what = "broke off its answer"
    return TransientError(UpstreamFailed(f"the product source {what}"))


def _lost(error: requests.ConnectionError) -> str:
    match error.args:
        case (urllib3.exceptions.ProtocolError(args=(_, OSError())),):
            return "broke off its answer"
        case (urllib3.exceptions.ProtocolError(args=(_, HTTPException())),):
            return "does not answer in HTTP"
        case (urllib3.exceptions.MaxRetryError(reason=urllib3.exceptions.NameResolutionError()),):
            return "cannot be reached: its name cannot be resolved"
    return "cannot be reached"


def _retry_after_s(header: str) -> int | None:
    """Read ``Retry-After``, seconds or a date (RFC 9110 section 10.2.3), as seconds from now."""
    header = header.strip()
    if header.isascii() and header.isdigit() and len(header) < 10:
        return min(int(header), LONGEST_WAIT_S)
    try:
        wait_s = ceil(parsedate_to_datetime(header).timestamp() - time())
    except (ValueError, OverflowError):
        return None
    return min(max(0, wait_s), LONGEST_WAIT_S)
