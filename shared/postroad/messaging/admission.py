"""Which deliveries a worker answers: every check of a request, in one order.

Signature and audience; what ``REQUEST_CHECKS`` names; replay; the user's right. A body is parsed
after all of them. Each check looks at one message, the reader's keys and the time, and nothing
else: so `postroad explain` can walk the same ones over a message that was refused.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import Any

from postroad.broker.interfaces import BasicProperties, Delivery
from postroad.contracts.base import Request
from postroad.contracts.errors import InvalidRequest, NotAuthenticated, NotAuthorised
from postroad.limits import LEEWAY_S, LONGEST_DEADLINE_S
from postroad.security.access_tokens import AccessToken, InvalidToken
from postroad.security.claims import Claims, Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Verifier, token_hash
from postroad.security.token_verifier import Revocations, TokenVerifier

Check = Callable[[Claims, BasicProperties, KeyRing, float], None]


def run_checks(
    checks: Iterable[Check], claims: Claims, properties: BasicProperties, keys: KeyRing, now: float
) -> None:
    """Run checks in order.

    Raises:
        Refused: by the first that fails.
    """
    for check in checks:
        check(claims, properties, keys, now)


def check_sender(claims: Claims, properties: BasicProperties, _keys: KeyRing, _now: float) -> None:
    if properties.user_id != claims.iss:  # the broker vouches for the user id
        raise Refused(Reason.SENDER_MISMATCH, f"{properties.user_id} sent as {claims.iss}")


def check_carbon_copy(
    _claims: Claims, properties: BasicProperties, _keys: KeyRing, _now: float
) -> None:
    headers = properties.headers or {}
    if "CC" in headers or "BCC" in headers:
        # they carry a message past topic permissions up to RabbitMQ 4.0.2
        raise Refused(Reason.CARBON_COPY)


def check_reply_address(
    claims: Claims, properties: BasicProperties, _keys: KeyRing, _now: float
) -> None:
    if (
        claims.rto is None
        or claims.rto != properties.reply_to
        or not claims.rto.startswith(f"reply.{claims.iss}.")
    ):
        raise Refused(Reason.WRONG_REPLY_ADDRESS)


def check_deadline(
    claims: Claims, _properties: BasicProperties, _keys: KeyRing, now: float
) -> None:
    if claims.exp < now - LEEWAY_S:  # the broker lets no request wait that long
        raise Refused(Reason.EXPIRED, f"{now - claims.exp:.1f} s ago")
    if claims.exp > now + LONGEST_DEADLINE_S + LEEWAY_S:
        raise Refused(Reason.DEADLINE_TOO_FAR, f"in {claims.exp - now:.1f} s")


def check_right(claims: Claims, _properties: BasicProperties, keys: KeyRing, _now: float) -> None:
    right = (claims.iss, claims.typ, claims.op)
    if right not in keys.granted and not keys.may_send(*right):
        raise Refused(
            Reason.CALLER_NOT_ALLOWED, f"{claims.iss} may not send the {claims.typ} {claims.op}"
        )


def check_token_hash(
    claims: Claims, properties: BasicProperties, _keys: KeyRing, _now: float
) -> None:
    token = (properties.headers or {}).get("authorization")
    if token is None and claims.ath is None:
        return
    if not isinstance(token, str) or token_hash(token) != claims.ath:
        raise Refused(Reason.TOKEN_MISMATCH)


REQUEST_CHECKS: tuple[Check, ...] = (
    check_sender,
    check_carbon_copy,
    check_reply_address,
    check_deadline,
    check_right,
    check_token_hash,
)


class Late(Exception):
    """The deadline has just passed: nobody waits for the answer."""


class ReplayStore:
    """Remembers message ids until their deadline has passed; then the deadline refuses a copy.

    It belongs to one process. A copy sent to another replica passes here, but only the signer's
    own broker user can send it at all (``user_id``), and handlers are idempotent
    (docs/decisions/0004-replay-store.md).
    """

    def __init__(self, *, max_entries: int = 200_000, leeway_s: float) -> None:
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._max_entries = max_entries
        self._leeway_s = leeway_s

    def is_new(self, issuer: str, message_id: str, deadline: float) -> bool:
        """Remember a message; false when it had been seen before."""
        self._forget()
        if (issuer, message_id) in self._seen:
            return False
        self._seen[issuer, message_id] = deadline + self._leeway_s
        return True

    def _forget(self) -> None:
        """Drop the oldest entries that are past their time, or over the bound."""
        now = time()
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] > now and len(self._seen) < self._max_entries:
                break
            del self._seen[oldest]

    def __len__(self) -> int:
        return len(self._seen)


class Admission:
    """Decides on deliveries to one service."""

    def __init__(
        self,
        keys: KeyRing,
        contracts: Mapping[str, type[Request[Any]]],
        revocations: Revocations,
    ) -> None:
        self._keys = keys
        self._contracts = contracts
        self._verifier = Verifier(keys)
        self._tokens = TokenVerifier(keys, revocations)
        self._seen = ReplayStore(leeway_s=LEEWAY_S)

    def verify(self, delivery: Delivery) -> Claims:
        """Check all that needs no contract.

        Raises:
            Refused: it is not an honest request to us, with the reason.
            Late: it is, but its deadline has passed.
        """
        properties = delivery.properties
        headers = properties.headers or {}
        claims = self._verifier.verify(headers.get("signature"), delivery.body, typ="request")
        run_checks(REQUEST_CHECKS, claims, properties, self._keys, time())
        is_new = self._seen.is_new(claims.iss, claims.jti, claims.exp)
        if not is_new and not delivery.redelivered:
            raise Refused(Reason.REPLAYED, claims.jti)
        if claims.exp <= time():
            raise Late
        return claims

    def authorise(
        self, claims: Claims, token: object
    ) -> tuple[type[Request[Any]], AccessToken | None]:
        """Return the contract of a verified request, and its user, who has a right to it.

        Raises:
            InvalidRequest: no such method here.
            NotAuthenticated: the user's token is missing or not valid.
            NotAuthorised: it does not hold the contract's scope.
        """
        contract = self._contracts.get(claims.op)
        if contract is None:
            raise InvalidRequest(f"no method {claims.op}")
        if token is None:
            caller = self._keys.trust.services.get(claims.iss)  # it may have been revoked by now
            for_user = contract.scope and (caller is None or caller.acts_for_users)
            if for_user or contract.needs_user:
                raise NotAuthenticated("no token")
            return contract, None
        try:
            user = self._tokens.verify(str(token))
        except InvalidToken as error:
            raise NotAuthenticated(str(error)) from error
        if contract.scope and contract.scope not in user.scopes:
            raise NotAuthorised(f"the token lacks the scope {contract.scope}")
        return contract, user
