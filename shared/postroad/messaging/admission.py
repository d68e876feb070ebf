"""Which deliveries a worker answers: every check of a request, in one order.

Signature and sender; audience and no carbon copy; reply address; deadline; the caller's right;
the user's right; replay. A body is parsed after all of them.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any

from postroad.broker.interfaces import Delivery
from postroad.contracts.base import Request
from postroad.contracts.errors import InvalidRequest, NotAuthenticated, NotAuthorised
from postroad.security import checks
from postroad.security.access_tokens import AccessToken, InvalidToken, Revocations, TokenVerifier
from postroad.security.claims import Claims, Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Verifier


class Late(Exception):
    """The deadline has just passed: nobody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that passed every check but its body's."""

    claims: Claims
    contract: type[Request[Any]]
    user: AccessToken | None


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
        self._seen = ReplayStore(leeway_s=checks.LEEWAY_S)

    def verify(self, delivery: Delivery) -> Claims:
        """Check all that needs no contract.

        Raises:
            Refused: it is not an honest request to us, with the reason.
            Late: it is, but its deadline has passed.
        """
        properties = delivery.properties
        headers = properties.headers or {}
        claims = self._verifier.verify(headers.get("signature"), delivery.body, typ="request")
        checks.run(checks.REQUEST_CHECKS, claims, properties, self._keys, time())
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
            for_user = contract.scope and (caller is None or caller.acts_for_users)
            if for_user or contract.needs_user:
                raise NotAuthenticated("no token")
            return Admitted(claims, contract, None)
        try:
            user = self._tokens.verify(str(token))
        except InvalidToken as error:
            raise NotAuthenticated(str(error)) from error
        if contract.scope and contract.scope not in user.scopes:
            raise NotAuthorised(f"the token lacks the scope {contract.scope}")
        return Admitted(claims, contract, user)
