"""What an event, a job or a redrive must be besides well signed: the checks of each, in order."""

from postroad.broker.interfaces import BasicProperties
from postroad.messaging.admission import (
    Check,
    check_carbon_copy,
    check_right,
    check_sender,
)
from postroad.security.claims import Claims, Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.lasting_signatures import EVENT_LIFETIME_S

# Events and jobs live for 30 days, by their sender's clock. What has happened must not be lost to
# a reader's wrong one; an inbox, which remembers for 37, would still know such a message.
LONGEST_LIFE_S = EVENT_LIFETIME_S + 86_400


def check_sender_or_us(
    claims: Claims, properties: BasicProperties, keys: KeyRing, now: float
) -> None:
    if properties.user_id != keys.service:  # we put aside what failed, in the sender's name
        check_sender(claims, properties, keys, now)


def check_expiry(claims: Claims, _properties: BasicProperties, _keys: KeyRing, now: float) -> None:
    if claims.exp <= now:
        raise Refused(Reason.EXPIRED, f"{now - claims.exp:.1f} s ago")
    if claims.exp > now + LONGEST_LIFE_S:  # inboxes would forget it before it expires
        raise Refused(Reason.DEADLINE_TOO_FAR, f"in {claims.exp - now:.1f} s")


def check_redriver(
    claims: Claims, _properties: BasicProperties, keys: KeyRing, _now: float
) -> None:
    sender = keys.trust.services.get(claims.iss)
    if sender is None or not sender.redrives:
        raise Refused(Reason.CALLER_NOT_ALLOWED, f"{claims.iss} may not redrive")


def check_event_origin(
    claims: Claims, _properties: BasicProperties, keys: KeyRing, _now: float
) -> None:
    _check_origin(claims, "event", keys)


def check_job_origin(
    claims: Claims, _properties: BasicProperties, keys: KeyRing, _now: float
) -> None:
    _check_origin(claims, "job", keys)


def _check_origin(claims: Claims, kind: str, keys: KeyRing) -> None:
    if not keys.may_send(claims.org or "", kind, claims.op):
        raise Refused(
            Reason.CALLER_NOT_ALLOWED, f"{claims.org} may not send the {kind} {claims.op}"
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
)


def checks_of_work(claims: Claims, kind: str) -> tuple[Check, ...]:
    """Return the checks of what is in a work queue, an event or a job (``kind``)."""
    if claims.typ != "redrive":
        return WORK_CHECKS
    return (*REDRIVE_CHECKS, check_job_origin if kind == "job" else check_event_origin)
