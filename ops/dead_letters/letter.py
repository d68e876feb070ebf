"""Dead letters: what each one is, why it died, and whether it may go back to work."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from time import time

from ops.dead_letters.diagnosis import CheckOutcome, CheckResult, Diagnosis
from ops.dead_letters.readers import Readers, UnknownReader, claims_of
from postroad.broker.interfaces import Delivery
from postroad.broker.queue_browser import BrowsedMessage
from postroad.contracts.errors import InvalidRequest, NotAuthenticated, NotAuthorised
from postroad.dead_letters.captured import (
    CapturedMessage,
    MessageSource,
    copy_of_letter,
    place_of,
    with_copies,
)
from postroad.messaging.background_worker import ATTEMPT
from postroad.security.claims import Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.keys import TrustBundle
from postroad.security.signatures import Verifier, read_signature
from postroad.topology.names import QUARANTINE, dead_queue

MOST_REDRIVES = 3  # what has come back that often comes back again
FAILED, REJECTED = "failed", "rejected"  # nothing is wrong with the message itself
# All that a letter's ``reason`` can be: RabbitMQ gives the last three (Dead Letter Exchanges).
REASONS = (
    *(FAILED, REJECTED, *(str(reason) for reason in Reason)),
    *(InvalidRequest.code, NotAuthenticated.code, NotAuthorised.code),
    *("delivery_limit", "maxlen", "expired"),
)
_MENDABLE = (Reason.EXPIRED, InvalidRequest.code)  # by a new signature, by a new version


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in a queue of dead letters, and what its reader's checks say of it."""

    queue: str  # where it is
    died_in: str  # the queue of the reader who gave it up
    delivery: Delivery
    diagnosis: Diagnosis

    @property
    def message(self) -> CapturedMessage:
        """The message as its reader had it."""
        return self.diagnosis.message

    @property
    def source(self) -> MessageSource:
        return self.diagnosis.source

    @property
    def message_id(self) -> str:
        claims = self.diagnosis.claims
        return claims.jti if claims else str(self.message.properties.message_id or "-")

    @property
    def name(self) -> str:
        claims = self.diagnosis.claims
        return claims.op if claims else str(self.message.properties.type or "-")

    @property
    def caller(self) -> str:
        """Name the sender: whom the broker vouches for, unless its reader put it aside."""
        user, claims = self.message.properties.user_id, self.diagnosis.claims
        if user is not None and (claims is None or user not in (self.source.reader, claims.iss)):
            return str(user)
        return claims.origin if claims else "-"

    @property
    def reason(self) -> str:
        """Name why it died: a refusal's reason, an error's code, or what the broker says."""
        if self.diagnosis.failure is not None and self.message.is_whole:
            return str(self.diagnosis.failure.code)
        if self.message.died_of not in (None, REJECTED):
            return str(self.message.died_of)
        return FAILED if self.source.is_queue_of_work else REJECTED

    @property
    def died_at(self) -> float:
        """Say when it became a dead letter, in seconds since 1970; 0 when nothing tells."""
        return self.message.rejected_at or 0.0

    @property
    def redrives(self) -> int:
        return self.diagnosis.claims.nth if self.diagnosis.claims else 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant; patterns as of a shell, None for all."""

    name: str | None = None
    caller: str | None = None
    reason: str | None = None
    message_id: str | None = None
    older_than_s: float | None = None
    newer_than_s: float | None = None

    def has(self, letter: DeadLetter) -> bool:
        """Say whether a letter is meant."""
        wanted = (
            (self.name, letter.name),
            (self.caller, letter.caller),
            (self.reason, letter.reason),
            (self.message_id, letter.message_id),
        )
        age_s = time() - letter.died_at
        return (
            all(pattern is None or fnmatchcase(value, pattern) for pattern, value in wanted)
            and (self.older_than_s is None or age_s > self.older_than_s)
            and (self.newer_than_s is None or age_s < self.newer_than_s)
        )


def read_letter(held: BrowsedMessage, readers: Readers) -> DeadLetter:
    """Read a message in a queue of dead letters, and diagnose it."""
    body, properties = held.delivery.body, held.delivery.properties
    queue = held.queue.removeprefix(dead_queue(""))
    copied = copy_of_letter(body, properties)
    if held.queue == QUARANTINE and copied is not None:
        queue = copied.died_where or queue
    message = with_copies(copied or CapturedMessage(body, properties, "", "", is_whole=True))
    source = place_of(queue, properties.type) or MessageSource("event", None, is_queue_of_work=True)
    try:
        diagnosis = readers.diagnose(message, source=source)
    except UnknownReader as error:  # its reader is no more
        gone = CheckResult(
            "a known reader", CheckOutcome.REFUSED, Reason.WRONG_AUDIENCE, str(error)
        )
        diagnosis = Diagnosis(message, source, time(), claims_of(message), [gone])
    return DeadLetter(held.queue, queue, held.delivery, diagnosis)


def objection(letter: DeadLetter, keys: KeyRing, *, force: bool = False) -> str | None:
    """Say why a letter must not go back to work; none when it may.

    What its reader refused as not honest stays refused, ``force`` or not: our signature would say
    that its sender had sent it. What has expired since, was given up or broke a contract may go.
    """
    if not letter.source.is_queue_of_work:
        return "a request: its caller has long gone"
    if not letter.message.is_whole:
        return "only a part of it was kept"
    for finding in letter.diagnosis.findings:
        if not finding.is_failure or finding.code in _MENDABLE:
            continue
        if finding.code == Reason.UNKNOWN_KEY and _is_vouched_for(letter, keys):
            continue
        return str(finding.code)
    if letter.redrives >= MOST_REDRIVES and not force:
        return f"redriven {letter.redrives} times already (--force)"
    return None


def _is_vouched_for(letter: DeadLetter, keys: KeyRing) -> bool:
    """Say whether a message is honest whose key is accepted no more.

    Either it is signed with a key that has retired, or its reader accepted it once: what was put
    aside bears the reader's own user id, for which the broker vouches.
    """
    message = letter.message
    if message.properties.user_id == letter.source.reader and ATTEMPT in message.headers:
        return True
    forgiving = Verifier(KeyRing(keys.identity, _without_retirement(keys.trust)))
    try:
        forgiving.check_signature(read_signature(message.headers.get("signature")), message.body)
    except Refused:
        return False
    return True


def _without_retirement(trust: TrustBundle) -> TrustBundle:
    return TrustBundle(
        services={
            name: service.model_copy(
                update={
                    "keys": tuple(
                        key.model_copy(update={"retires_at": None}) for key in service.keys
                    )
                }
            )
            for name, service in trust.services.items()
        }
    )
