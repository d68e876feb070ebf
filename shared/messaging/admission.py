"""Which deliveries a worker answers: every check of a request, in one order, in one place.

Signature and sender; audience and no carbon copy; reply address; deadline; the caller's right;
the user's right; replay. A body is parsed after all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any

from pika import BasicProperties

from shared.contracts.base import Request
from shared.contracts.errors import InvalidRequest, NotAuthenticated, NotAuthorised
from shared.messaging.broker import Delivery
from shared.messaging.envelope import Claims, Reason, Refused, Verifier, token_hash
from shared.messaging.keyring import KeyRing
from shared.messaging.replay import ReplayStore
from shared.revocations import Revocations
from shared.tokens import AccessToken, InvalidToken, TokenVerifier

LEEWAY_S = 5.0  # how far two services' clocks may be apart
LONGEST_DEADLINE_S = 60.0


class Late(Exception):
    """The deadline has just passed: nobody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that passed every check but its body's."""

    claims: Claims
    contract: type[Request[Any]]
    user: AccessToken | None


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
        if properties.user_id != claims.iss:  # the broker vouches for the user id
            raise Refused(Reason.SENDER_MISMATCH, f"{properties.user_id} sent as {claims.iss}")
        if "CC" in headers or "BCC" in headers:
            # they carry a message past topic permissions up to RabbitMQ 4.0.2
            raise Refused(Reason.CARBON_COPY)
        _check_reply_address(claims, properties)
        _check_deadline(claims.exp)
        if not self._keys.trust.services[claims.iss].may_call(claims.op):
            raise Refused(Reason.CALLER_NOT_ALLOWED, f"{claims.iss} may not call {claims.op}")
        _check_token_hash(claims, headers.get("authorization"))
        is_new = self._seen.is_new(claims.iss, claims.jti, claims.exp)
        if not is_new and not delivery.redelivered:
            raise Refused(Reason.REPLAYED, claims.jti)
        if claims.exp <= time():
            raise Late
        return claims

    def authorise(self, claims: Claims, token: object) -> Admitted:
        """Find the contract of a verified request, and check the user's right to it.

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
            if contract.scope and (caller is None or caller.acts_for_users):
                raise NotAuthenticated("no token")
            return Admitted(claims, contract, None)
        try:
            user = self._tokens.verify(str(token))
        except InvalidToken as error:
            raise NotAuthenticated(str(error)) from error
        if contract.scope and contract.scope not in user.scopes:
            raise NotAuthorised(f"the token lacks the scope {contract.scope}")
        return Admitted(claims, contract, user)


def _check_reply_address(claims: Claims, properties: BasicProperties) -> None:
    if (
        claims.rto is None
        or claims.rto != properties.reply_to
        or not claims.rto.startswith(f"reply.{claims.iss}.")
    ):
        raise Refused(Reason.WRONG_REPLY_ADDRESS)


def _check_deadline(deadline: float) -> None:
    now = time()
    if deadline < now - LEEWAY_S:  # the broker lets no request wait that long
        raise Refused(Reason.EXPIRED, f"{now - deadline:.1f} s ago")
    if deadline > now + LONGEST_DEADLINE_S + LEEWAY_S:
        raise Refused(Reason.DEADLINE_TOO_FAR, f"in {deadline - now:.1f} s")


def _check_token_hash(claims: Claims, token: object) -> None:
    hashed = token_hash(token) if isinstance(token, str) else None
    if hashed != claims.ath:
        raise Refused(Reason.TOKEN_MISMATCH)
