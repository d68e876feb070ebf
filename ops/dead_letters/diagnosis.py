"""Trying a captured message again: the checks of its reader, in their order, to the last.

A reader stops at the first check that fails; here all of them speak, and so does each that would
have failed next.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from pydantic import ValidationError

from postroad.contracts.base import Event, Job, Request
from postroad.contracts.errors import InvalidRequest, NotAuthenticated, ServiceError, explain
from postroad.contracts.registry import CONTRACTS, EVENTS, JOBS
from postroad.dead_letters.captured import CapturedMessage, MessageSource
from postroad.messaging.admission import Admission
from postroad.security import checks
from postroad.security.access_tokens import ExpiredToken
from postroad.security.keyring import KeyRing
from postroad.security.replay_cache import ReplayStore
from postroad.security.revocations import Revocations
from postroad.security.signatures import (
    Claims,
    Reason,
    Refused,
    Signature,
    Verifier,
    read_signature,
)

_SAYS = {
    checks.check_sender: "the broker's user_id is who signed",
    checks.check_sender_or_us: "the broker's user_id is who signed, or the reader itself",
    checks.check_carbon_copy: "no header CC or BCC",
    checks.check_reply_address: "the signed reply address is that of the message, and the sender's",
    checks.check_deadline: "the deadline is neither over nor too far ahead",
    checks.check_expiry: "it has not expired",
    checks.check_right: "the sender may send it",
    checks.check_redriver: "who sent it again may do so",
    checks.check_origin: "who sent it at first may send it",
    checks.check_token_hash: "the signature holds the hash of the user's token, or there is none",
}
_BODY = "the body keeps its contract"
_FOREVER = float("inf")


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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found of one message."""

    claims: Claims | None  # none when they cannot be read
    findings: list[CheckResult]

    @property
    def verdict(self) -> CheckResult | None:
        """Give the first check that failed, which is the one that decides."""
        failed = (each for each in self.findings if each.outcome in _FAILED)
        return next(failed, None)


_FAILED = (CheckOutcome.REFUSED, CheckOutcome.ERROR)


class Court:
    """Tries messages for one reader, in the order in which they came."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._verifier = Verifier(keys)
        self._admission = Admission(
            keys,
            {name: each for name, each in CONTRACTS.items() if each.service() == keys.service},
            Revocations(),
        )
        self._seen = ReplayStore(leeway_s=checks.LEEWAY_S)

    def try_message(self, message: CapturedMessage, place: MessageSource, now: float) -> Diagnosis:
        """Walk all checks, as of a time."""
        found = [_attempt("a signature that can be read", lambda: _read(message))]
        if found[0].outcome is not CheckOutcome.PASSED:
            return Diagnosis(None, found)
        signature = _read(message)
        found += self._envelope(message, place, signature)
        found += self._role(message, place, signature.claims, now)
        if place.typ == "request":
            found += self._request(message, signature.claims)
        elif place.typ != "reply":
            found.append(_work_body(message, place, signature.claims))
        return Diagnosis(signature.claims, found)

    def _envelope(
        self, message: CapturedMessage, place: MessageSource, signature: Signature
    ) -> Iterator[CheckResult]:
        verifier, claims = self._verifier, signature.claims
        yield _attempt(
            "signed with an accepted key, over exactly this body",
            lambda: verifier.check_signature(signature, message.body),
        )
        typ = "redrive" if place.is_queue_of_work and claims.typ == "redrive" else place.typ
        yield _attempt(f"a {typ}", lambda: verifier.check_type(claims, typ))
        yield _attempt(f"for {place.reader or 'all'}", lambda: verifier.check_audience(claims))

    def _role(
        self, message: CapturedMessage, place: MessageSource, claims: Claims, now: float
    ) -> Iterator[CheckResult]:
        for check in _checks(place, claims):
            yield _attempt(
                _SAYS[check], partial(check, claims, message.properties, self._keys, now)
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
        contract = CONTRACTS.get(claims.op)
        if contract is not None:
            yield _attempt(_BODY, lambda: _parse(contract, message.body))

    def _authorise(self, message: CapturedMessage, claims: Claims) -> None:
        self._admission.authorise(claims, message.headers.get("authorization"))


def _checks(place: MessageSource, claims: Claims) -> tuple[checks.Check, ...]:
    if place.typ == "request":
        return checks.REQUEST_CHECKS
    if place.typ == "reply":
        return ()
    return checks.checks_of_work(claims) if place.is_queue_of_work else checks.HEARD_CHECKS


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


def _work_body(message: CapturedMessage, place: MessageSource, claims: Claims) -> CheckResult:
    contracts: dict[str, type[Event] | type[Job]] = {**EVENTS, **JOBS}
    contract = contracts.get(claims.op)
    if contract is None:
        return CheckResult(
            _BODY, CheckOutcome.REFUSED, Reason.WRONG_TYPE, f"no {place.typ} is called {claims.op}"
        )
    return _attempt(_BODY, lambda: _parse(contract, message.body))
