"""What a person reads of a diagnosis: the message, its claims, each check, and what to do."""

from collections.abc import Iterator

from ops.dead_letters.diagnosis import CheckOutcome, CheckResult, Diagnosis
from ops.terminal.text import clock_time
from postroad.contracts.errors import InvalidRequest, NotAuthenticated, NotAuthorised
from postroad.dead_letters.captured import CapturedMessage
from postroad.messaging.background_worker import ATTEMPT
from postroad.security.claims import Claims, Reason
from postroad.security.signatures import token_hash
from postroad.topology.definitions import DELIVERY_LIMIT

ADVICE = {
    Reason.UNSIGNED: "put the header `signature` on it; docs/wire-protocol.md, section 4",
    Reason.MALFORMED: "build the claims as in docs/wire-protocol.md, section 4: types are strict",
    Reason.UNKNOWN_KEY: "sign with a key that is in the reader's trust bundle: it is another's, "
    "has retired since 'postroad keys rotate', or the sender was revoked",
    Reason.BAD_SIGNATURE: "sign exactly the bytes that are sent, last of all; if nobody changed "
    "the message on its way, sender and reader derive different keys",
    Reason.WRONG_TYPE: "send it to the exchange that is for its type: requests to `rpc`, events "
    "to `events`, jobs to `work`",
    Reason.SENDER_MISMATCH: "publish with the broker user of the service that signs, and set "
    "`user_id` to it",
    Reason.WRONG_AUDIENCE: "set `aud` to the service whose queue it goes to (`events` in an event)",
    Reason.CARBON_COPY: "leave the headers CC and BCC away; publish once for each reader",
    Reason.WRONG_REPLY_ADDRESS: "sign the reply queue (`rto`) that the message names (`reply_to`); "
    "it must be the sender's own, `reply.<iss>.`",
    Reason.EXPIRED: "ask why it waited so long: too few workers, a stopped one, or clocks that "
    "differ by more than 5 s; a second attempt is a new message",
    Reason.DEADLINE_TOO_FAR: "give no deadline more than 60 s ahead; look at the sender's clock",
    Reason.CALLER_NOT_ALLOWED: "grant it: `calls`, `publishes` or `enqueues` in "
    "service.toml, or 'postroad services add' for another team's service",
    Reason.REPLAYED: "make a second attempt a new message, with an id and a signature of its own; "
    "if nobody sent it twice, somebody copied it",
    Reason.TOKEN_MISMATCH: "sign the hash of the very token that is sent (`ath`), or send none",
    InvalidRequest.code: "send what the contract says: /docs/messages, or docs/asyncapi.json",
    NotAuthenticated.code: "send a valid access token of the user in the header `authorization`; "
    "whether its session has been ended is not looked up here",
    NotAuthorised.code: "the user needs a role with this scope",
}

MEANINGS = {
    "typ": "what it is",
    "iss": "the service that signed",
    "aud": "the service it is for",
    "op": "the method, or the event's or job's name",
    "iat": "signed at",
    "exp": "good until",
    "jti": "message id",
    "cid": "correlation id",
    "rto": "reply address",
    "ath": "hash of the user's token",
    "rid": "the request it answers",
    "org": "the service that signed it at first",
    "nth": "how often it was sent again",
    "cty": "kind of body",
    "kid": "key",
    "alg": "algorithm",
}
_TIMES = ("iat", "exp")


def report(diagnosis: Diagnosis) -> Iterator[str]:
    """Write a diagnosis, line by line, without secrets."""
    message, source = diagnosis.message, diagnosis.source
    yield f"{source.typ} for {source.reader or 'all who listen'}, {len(message.body)} bytes"
    if not message.is_whole:
        yield (
            "! the payload was cut off: its reader kept a part of it, or the management shows one "
            "('truncate')"
        )
    yield from _properties(message)
    if diagnosis.claims is not None:
        yield ""
        yield "its signature claims"
        yield from _table(diagnosis.claims)
    yield ""
    yield f"checks, as of {clock_time(diagnosis.as_of)}"
    for finding in diagnosis.findings:
        yield from _line(finding)
    yield ""
    yield _conclusion(diagnosis)


def _properties(message: CapturedMessage) -> Iterator[str]:
    properties = message.properties
    token = message.headers.get("authorization")
    shown = f"present, SHA-256 {token_hash(token)}" if isinstance(token, str) else None
    for name, value in (
        ("exchange", message.exchange),
        ("routing key", message.routing_key),
        ("user_id", properties.user_id),
        ("reply_to", properties.reply_to),
        ("message_id", properties.message_id),
        ("authorization", shown),
    ):
        if value:
            yield f"  {name:14}{value}"


def _table(claims: Claims) -> Iterator[str]:
    values = claims.model_dump(exclude_defaults=True)
    for name, meaning in MEANINGS.items():
        if name in values:
            value = clock_time(values[name]) if name in _TIMES else values[name]
            yield f"  {name:5}{meaning:42}{value}"


def _line(finding: CheckResult) -> Iterator[str]:
    yield f"  {finding.outcome:8} {finding.wants}"
    if finding.outcome is not CheckOutcome.PASSED:
        detail = f": {finding.detail}" if finding.detail else ""
        yield f"           {finding.code}{detail}"
    if finding.is_failure:
        yield f"           -> {ADVICE[finding.code]}"


def _conclusion(diagnosis: Diagnosis) -> str:
    failure = diagnosis.failure
    if failure is None:
        is_dead = diagnosis.message.rejected_at is not None
        if not is_dead and not diagnosis.message.is_whole:
            return "What is here of it would be accepted."
        return _cause_of_death(diagnosis) if is_dead else "It would be accepted."
    if failure.outcome is CheckOutcome.REFUSED:
        return f"Refused: {failure.code}. It is dead-lettered, and its sender hears nothing."
    if diagnosis.source.is_queue_of_work:
        return f"Not refused, but it cannot be done, and is dead-lettered: {failure.code}."
    return f"Not refused, but it is answered with an error: {failure.code}."


def _cause_of_death(diagnosis: Diagnosis) -> str:
    """Explain the dead-lettering of a message with which nothing is wrong."""
    message, source = diagnosis.message, diagnosis.source
    if not message.is_whole:
        return f"Its reader has kept a part of it only. It died of: {message.died_of}."
    log = f"The reader's log has message id {message.properties.message_id}."
    if message.died_of == "delivery_limit":
        return (
            f"Nothing is wrong with it, but more than {DELIVERY_LIMIT} times its reader went away "
            f"while it worked on it: it may be what kills it. {log}"
        )
    if source.is_queue_of_work and message.died_of == "expired":
        return "Nothing is wrong with it, but nobody worked on it in time."
    if source.is_queue_of_work:
        return (
            f"Nothing is wrong with it: its handler failed for good, in attempt "
            f"{message.headers.get(ATTEMPT, 1)}. {log}"
        )
    return (
        "Nothing is wrong with it, yet it was rejected: as a copy of an earlier one "
        f"(replayed), for a key that is accepted by now, or by a bug in its handler. {log}"
    )
