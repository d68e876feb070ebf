"""Why a captured message was refused: the checks of its reader, in their order, to the last.

A reader stops at the first check that fails; here all of them run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from pydantic import ValidationError

from ops.services.manifests import events, jobs, requests
from postroad.contracts.base import Event, Job, Request
from postroad.contracts.errors import InvalidRequest, NotAuthenticated, ServiceError, explain
from postroad.dead_letters.captured import CapturedMessage, MessageSource
from postroad.limits import LEEWAY_S
from postroad.messaging import admission, work_checks
from postroad.messaging.admission import Admission, Check, ReplayStore
from postroad.security.access_tokens import ExpiredToken
from postroad.security.claims import Claims, Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Signature, Verifier, read_signature
from postroad.security.token_verifier import Revocations

_WANTS = {
    admission.check_sender: "the broker's user_id is who signed",
    work_checks.check_sender_or_us: "the broker's user_id is who signed, or the reader itself",
    admission.check_carbon_copy: "no header CC or BCC",
    admission.check_reply_address: (
        "the signed reply address is that of the message, and the sender's"
    ),
    admission.check_deadline: "the deadline is neither over nor too far ahead",
    work_checks.check_expiry: "it has not expired",
    admission.check_right: "the sender may send it",
    work_checks.check_redriver: "who sent it again may do so",
    work_checks.check_event_origin: "who sent it at first may send it",
    work_checks.check_job_origin: "who sent it at first may send it",
    admission.check_token_hash: (
        "the signature holds the hash of the user's token, or there is none"
    ),
}
_SIGNED = "signed with an accepted key, over exactly this body"
_BODY = "the body keeps its contract"
_FOREVER = float("inf")


def _work() -> dict[str, type[Event] | type[Job]]:
    return {**events(), **jobs()}


class CheckOutcome(StrEnum):
    """How a check ended."""

    PASSED = "ok"
    REFUSED = "refused"  # dead-lettered, and not answered
    ERROR = "error"  # answered with an error, or given up
    UNKNOWN = "?"  # it takes more than the message to tell


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: what it wants, how it ended and, unless it passed, why."""

    wants: str
    outcome: CheckOutcome
    code: str = ""  # a reason for a refusal, or the code of an error
    detail: str = ""

    @property
    def is_failure(self) -> bool:
        return self.outcome in (CheckOutcome.REFUSED, CheckOutcome.ERROR)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the checks of a message's reader say of it."""

    message: CapturedMessage
    source: MessageSource
    as_of: float  # the time by which deadlines were judged, in seconds since 1970
    claims: Claims | None  # none when they cannot be read
    findings: list[CheckResult]

    @property
    def failure(self) -> CheckResult | None:
        """Return the first check that failed, which is the one that decides."""
        return next((each for each in self.findings if each.is_failure), None)


class Reader:
    """A service that reads messages, in the order in which they came."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._verifier = Verifier(keys)
        self._admission = Admission(
            keys,
            {name: each for name, each in requests().items() if each.service == keys.service},
            Revocations(),
        )
        self._seen = ReplayStore(leeway_s=LEEWAY_S)

    def diagnose(self, message: CapturedMessage, source: MessageSource, now: float) -> Diagnosis:
        """Run all checks, as of a time."""
        found = [_attempt("a signature that can be read", lambda: _read(message))]
        if found[0].outcome is not CheckOutcome.PASSED:
            return Diagnosis(message, source, now, None, found)
        signature = _read(message)
        source = self._known(source, signature.claims)
        found += self._envelope(message, source, signature)
        found += self._role(message, source, signature.claims, now)
        if source.typ == "request":
            found += self._request(message, signature.claims)
        elif source.typ != "reply" and message.is_whole:
            found.append(_work_body(message, signature.claims))
        return Diagnosis(message, source, now, signature.claims, found)

    def _known(self, source: MessageSource, claims: Claims) -> MessageSource:
        """Return what waits there; where no contract here tells, what its sender may send does."""
        if not source.is_queue_of_work or claims.op in _work():
            return source
        is_job = self._keys.may_send(claims.origin, "job", claims.op)
        return replace(source, typ="job" if is_job else "event")

    def _envelope(
        self, message: CapturedMessage, source: MessageSource, signature: Signature
    ) -> Iterator[CheckResult]:
        verifier, claims = self._verifier, signature.claims
        if message.is_whole:
            yield _attempt(_SIGNED, lambda: verifier.check_signature(signature, message.body))
        else:
            yield CheckResult(
                _SIGNED, CheckOutcome.UNKNOWN, Reason.BAD_SIGNATURE, "a part of it is not here"
            )
        typ = "redrive" if source.is_queue_of_work and claims.typ == "redrive" else source.typ
        yield _attempt(f"a {typ}", lambda: verifier.check_type(claims, typ))
        yield _attempt(f"for {source.reader or 'all'}", lambda: verifier.check_audience(claims))

    def _role(
        self, message: CapturedMessage, source: MessageSource, claims: Claims, now: float
    ) -> Iterator[CheckResult]:
        for check in _checks(source, claims):
            yield _attempt(
                _WANTS[check], partial(check, claims, message.properties, self._keys, now)
            )

    def _request(self, message: CapturedMessage, claims: Claims) -> Iterator[CheckResult]:
        if self._seen.is_new(claims.iss, claims.jti, _FOREVER):
            yield CheckResult(
                "not a copy of an earlier one",
                CheckOutcome.UNKNOWN,
                Reason.REPLAYED,
                "one message does not tell; the reader's log does",
            )
        else:
            yield CheckResult(
                "not a copy of an earlier one", CheckOutcome.REFUSED, Reason.REPLAYED, claims.jti
            )
        yield _attempt("the user may do it", lambda: self._authorise(message, claims))
        contract = requests().get(claims.op)
        if contract is not None and message.is_whole:
            yield _attempt(_BODY, lambda: _parse(contract, message.body))

    def _authorise(self, message: CapturedMessage, claims: Claims) -> None:
        self._admission.authorise(claims, message.headers.get("authorization"))


def _checks(source: MessageSource, claims: Claims) -> tuple[Check, ...]:
    if source.typ == "request":
        return admission.REQUEST_CHECKS
    if source.typ == "reply":
        return ()
    return (
        work_checks.checks_of_work(claims, source.typ)
        if source.is_queue_of_work
        else work_checks.HEARD_CHECKS
    )


def _attempt(wants: str, check: Callable[[], Any]) -> CheckResult:
    try:
        check()
    except Refused as refusal:
        return CheckResult(wants, CheckOutcome.REFUSED, refusal.reason, refusal.detail)
    except NotAuthenticated as error:
        if isinstance(error.__cause__, ExpiredToken):  # by now; it may have been good then
            return CheckResult(wants, CheckOutcome.UNKNOWN, error.code, str(error))
        return CheckResult(wants, CheckOutcome.ERROR, error.code, str(error))
    except ServiceError as error:
        return CheckResult(wants, CheckOutcome.ERROR, error.code, str(error))
    return CheckResult(wants, CheckOutcome.PASSED)


def _read(message: CapturedMessage) -> Signature:
    return read_signature(message.headers.get("signature"))


def _parse(contract: type[Request[Any] | Event | Job], body: bytes) -> None:
    try:
        contract.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


def _work_body(message: CapturedMessage, claims: Claims) -> CheckResult:
    contract = _work().get(claims.op)
    if contract is None:
        return CheckResult(
            _BODY, CheckOutcome.UNKNOWN, Reason.WRONG_TYPE, f"no contract here is named {claims.op}"
        )
    return _attempt(_BODY, lambda: _parse(contract, message.body))
