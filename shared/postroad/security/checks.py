"""What a message must be besides well signed: the checks of each kind, in their order.

Each looks at one message, the reader's keys and the time, and nothing else: so `postroad explain`
can walk the same ones over a message that was refused.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from postroad.contracts.registry import JOBS
from postroad.limits import LONGEST_DEADLINE_S
from postroad.security.claims import Claims, Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.lasting_signatures import EVENT_LIFETIME_S
from postroad.security.signatures import token_hash

LEEWAY_S = 5.0  # how far two services' clocks may be apart
# Events and jobs live for 30 days, by their sender's clock. What has happened must not be lost to
# a reader's wrong one; an inbox, which remembers for 37, would still know such a message.
LONGEST_LIFE_S = EVENT_LIFETIME_S + 86_400


class Properties(Protocol):
    """The properties of an AMQP message that the checks read."""

    @property
    def user_id(self) -> str | None: ...
    @property
    def reply_to(self) -> str | None: ...
    @property
    def headers(self) -> Mapping[str, Any] | None: ...


Check = Callable[[Claims, Properties, KeyRing, float], None]


def run(
    checks: Iterable[Check], claims: Claims, properties: Properties, keys: KeyRing, now: float
) -> None:
    """Run checks in order.

    Raises:
        Refused: by the first that fails.
    """
    for check in checks:
        check(claims, properties, keys, now)


def check_sender(claims: Claims, properties: Properties, _keys: KeyRing, _now: float) -> None:
    if properties.user_id != claims.iss:  # the broker vouches for the user id
        raise Refused(Reason.SENDER_MISMATCH, f"{properties.user_id} sent as {claims.iss}")


def check_sender_or_us(claims: Claims, properties: Properties, keys: KeyRing, now: float) -> None:
    if properties.user_id != keys.service:  # we put aside what failed, in the sender's name
        check_sender(claims, properties, keys, now)


def check_carbon_copy(_claims: Claims, properties: Properties, _keys: KeyRing, _now: float) -> None:
    headers = properties.headers or {}
    if "CC" in headers or "BCC" in headers:
        # they carry a message past topic permissions up to RabbitMQ 4.0.2
        raise Refused(Reason.CARBON_COPY)


def check_reply_address(
    claims: Claims, properties: Properties, _keys: KeyRing, _now: float
) -> None:
    if (
        claims.rto is None
        or claims.rto != properties.reply_to
        or not claims.rto.startswith(f"reply.{claims.iss}.")
    ):
        raise Refused(Reason.WRONG_REPLY_ADDRESS)


def check_deadline(claims: Claims, _properties: Properties, _keys: KeyRing, now: float) -> None:
    if claims.exp < now - LEEWAY_S:  # the broker lets no request wait that long
        raise Refused(Reason.EXPIRED, f"{now - claims.exp:.1f} s ago")
    if claims.exp > now + LONGEST_DEADLINE_S + LEEWAY_S:
        raise Refused(Reason.DEADLINE_TOO_FAR, f"in {claims.exp - now:.1f} s")


def check_expiry(claims: Claims, _properties: Properties, _keys: KeyRing, now: float) -> None:
    if claims.exp <= now:
        raise Refused(Reason.EXPIRED, f"{now - claims.exp:.1f} s ago")
    if claims.exp > now + LONGEST_LIFE_S:  # inboxes would forget it before it expires
        raise Refused(Reason.DEADLINE_TOO_FAR, f"in {claims.exp - now:.1f} s")


def check_right(claims: Claims, _properties: Properties, keys: KeyRing, _now: float) -> None:
    right = (claims.iss, claims.typ, claims.op)
    if right not in keys.granted and not keys.may_send(*right):
        raise Refused(
            Reason.CALLER_NOT_ALLOWED, f"{claims.iss} may not send the {claims.typ} {claims.op}"
        )


def check_redriver(claims: Claims, _properties: Properties, keys: KeyRing, _now: float) -> None:
    sender = keys.trust.services.get(claims.iss)
    if sender is None or not sender.redrives:
        raise Refused(Reason.CALLER_NOT_ALLOWED, f"{claims.iss} may not redrive")


def check_origin(claims: Claims, _properties: Properties, keys: KeyRing, _now: float) -> None:
    kind = "job" if claims.op in JOBS else "event"
    if not keys.may_send(claims.org or "", kind, claims.op):
        raise Refused(
            Reason.CALLER_NOT_ALLOWED, f"{claims.org} may not send the {kind} {claims.op}"
        )


def check_token_hash(claims: Claims, properties: Properties, _keys: KeyRing, _now: float) -> None:
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
HEARD_CHECKS: tuple[Check, ...] = (check_sender, check_expiry, check_right)  # in `listen.` queues
WORK_CHECKS: tuple[Check, ...] = (
    check_sender_or_us,
    check_carbon_copy,
    check_expiry,
    check_right,
)
REDRIVE_CHECKS: tuple[Check, ...] = (
    check_sender_or_us,
    check_carbon_copy,
    check_expiry,
    check_redriver,
    check_origin,
)


def checks_of_work(claims: Claims) -> tuple[Check, ...]:
    """Give the checks of what is in a work queue."""
    return REDRIVE_CHECKS if claims.typ == "redrive" else WORK_CHECKS
