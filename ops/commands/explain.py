"""`postroad explain`: why a captured message was refused, and what to do about it."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import time

from ops.commands.arguments import add_state_argument
from ops.dead_letters.diagnosis import CheckOutcome, CheckResult, Court, Diagnosis
from ops.state.folder import StateFolder
from postroad.contracts.errors import InvalidRequest, NotAuthenticated, NotAuthorised
from postroad.dead_letters.captured import CannotRead, CapturedMessage, MessageSource, read_messages
from postroad.messaging.background_worker import ATTEMPT
from postroad.security.keyring import KeyRing
from postroad.security.keys import KeyFileError, TrustBundle
from postroad.security.signatures import Claims, Reason, Refused, read_signature, token_hash
from postroad.topology.definitions import DELIVERY_LIMIT

EXAMPLES = """\
examples:
  postroad dead-letters show --n 1 --json | postroad explain -
  postroad explain letter.json               as of when it was refused, or else signed
  postroad explain letter.json --at now      as of now: most have expired by then

letter.json is also what RabbitMQ's management gives: GET /api/queues/postroad/QUEUE/get.
"""

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
    "rabbitmq/services.toml, or 'postroad services add' for a service of others",
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


class CannotExplain(Exception):
    """There is not enough to go by; the message says what is missing."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "file",
        metavar="FILE",
        help="one message or a list, as JSON of RabbitMQ's management API; - is the standard input",
    )
    parser.add_argument(
        "--as",
        dest="reader",
        metavar="SERVICE",
        help="read it as this service (the one whose queue it was in)",
    )
    parser.add_argument(
        "--at",
        type=moment,
        metavar="TIME",
        help="judge deadlines as of 'now', '2026-01-31T12:00:00Z' or seconds since 1970 (when it "
        "was refused, or else signed)",
    )
    add_state_argument(parser, "the folder of the system, for its keys")


def run(options: Namespace) -> int:
    """Explain each message; 0 when all would be accepted, 1 when one would not."""
    try:
        text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text()
        messages = read_messages(text)
        bench = Bench(StateFolder(options.state), options.reader)
        trials = [(each, *bench.hear(each, options.at)) for each in messages]
    except (CannotRead, CannotExplain, KeyFileError) as error:
        print(f"postroad: {plain(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"postroad: cannot read {options.file}: {error.strerror}", file=sys.stderr)
        return 1
    for number, (message, place, trial, now) in enumerate(trials):
        if number:
            print()
        for line in report(message, place, trial, now):
            print(line)
    return 1 if any(trial.verdict for _, _, trial, _ in trials) else 0


class Bench:
    """A court for each reader, with the keys that the state folder has for it."""

    def __init__(self, state: StateFolder, reader: str | None) -> None:
        self._state = state
        self._reader = reader
        self._trust = TrustBundle.load(state.trust_file)
        self._courts: dict[str, Court] = {}

    def hear(
        self, message: CapturedMessage, at: float | None, place: MessageSource | None = None
    ) -> tuple[MessageSource, Diagnosis, float]:
        """Try a message; give where it was, what was found, and as of when.

        Raises:
            CannotExplain: the reader, or its keys, are not known here.
        """
        claims = claims_of(message)
        place = place or self._place(message, claims)
        now = at if at is not None else message.rejected_at or (claims.iat if claims else time())
        return place, self._court(place).try_message(message, place, now), now

    def _place(self, message: CapturedMessage, claims: Claims | None) -> MessageSource:
        place = message.place() or (MessageSource(claims.typ, claims.aud) if claims else None)
        if place is None:
            if self._reader is None:
                raise CannotExplain(
                    "neither the message nor where it was says whose it is; name the reader with "
                    "--as SERVICE"
                )
            place = MessageSource("request", self._reader)
        reader = self._reader or (
            None if place.typ == "event" and not place.is_queue_of_work else place.reader
        )
        return MessageSource(place.typ, reader, place.is_queue_of_work)

    def _court(self, place: MessageSource) -> Court:
        # any service can verify an event, so the first whose keys are here will do
        services, reader = self._trust.services, place.reader
        if reader is None:
            here = (each for each in services if self._state.identity_file(each).exists())
            reader = next(here, None)
        is_known = reader in services  # else it is whatever the message says
        if reader is None or not is_known or not self._state.identity_file(reader).exists():
            raise CannotExplain(
                f"{self._state.folder} has no keys of {reader or 'any service'}, which reads this"
            )
        if reader not in self._courts:
            keys = KeyRing.load(self._state.identity_file(reader), self._state.trust_file)
            self._courts[reader] = Court(keys)
        return self._courts[reader]


def claims_of(message: CapturedMessage) -> Claims | None:
    try:
        return read_signature(message.headers.get("signature")).claims
    except Refused:
        return None


def report(
    message: CapturedMessage, place: MessageSource, trial: Diagnosis, now: float
) -> Iterator[str]:
    yield plain(f"{place.typ} for {place.reader or 'all who listen'}, {len(message.body)} bytes")
    if not message.is_whole:
        yield "! the payload was cut off: ask the management for all of it ('truncate')"
    yield from _properties(message)
    if trial.claims is not None:
        yield "\nits signature claims"
        yield from _table(trial.claims)
    yield f"\nchecks, as of {clock_time(now)}"
    for finding in trial.findings:
        yield from _line(finding)
    yield ""
    yield plain(_conclusion(message, place, trial))


def _properties(message: CapturedMessage) -> Iterator[str]:
    properties = message.properties
    token = message.headers.get("authorization")
    for name, value in (
        ("exchange", message.exchange),
        ("routing key", message.routing_key),
        ("user_id", properties.user_id),
        ("reply_to", properties.reply_to),
        ("message_id", properties.message_id),
        ("authorization", f"present, SHA-256 {token_hash(token)}" if token else None),
    ):
        if value:
            yield plain(f"  {name:14}{value}")


def _table(claims: Claims) -> Iterator[str]:
    values = claims.model_dump(exclude_defaults=True)
    for name, meaning in MEANINGS.items():
        if name in values:
            value = clock_time(values[name]) if name in _TIMES else values[name]
            yield plain(f"  {name:5}{meaning:42}{value}")


def _line(finding: CheckResult) -> Iterator[str]:
    yield plain(f"  {finding.outcome:8} {finding.wants}")
    if finding.outcome is not CheckOutcome.PASSED:
        detail = f": {finding.detail}" if finding.detail else ""
        yield plain(f"           {finding.code}{detail}")
    if finding.outcome in (CheckOutcome.REFUSED, CheckOutcome.ERROR):
        yield f"           -> {ADVICE[finding.code]}"


def _conclusion(message: CapturedMessage, place: MessageSource, trial: Diagnosis) -> str:
    verdict = trial.verdict
    if verdict is None:
        return "It would be accepted." if message.rejected_at is None else _bad_luck(message, place)
    if verdict.outcome is CheckOutcome.REFUSED:
        return f"Refused: {verdict.code}. It is dead-lettered, and its sender hears nothing."
    if place.is_queue_of_work:
        return f"Not refused, but it cannot be done, and is dead-lettered: {verdict.code}."
    return f"Not refused, but it is answered with an error: {verdict.code}."


def _bad_luck(message: CapturedMessage, place: MessageSource) -> str:
    """Say what became of a message with which nothing is wrong, and which died all the same."""
    log = f"The reader's log has message id {message.properties.message_id}."
    if message.died_of == "delivery_limit":
        return (
            f"Nothing is wrong with it, but more than {DELIVERY_LIMIT} times its reader went away "
            f"while it worked on it: it may be what kills it. {log}"
        )
    if place.is_queue_of_work and message.died_of == "expired":
        return "Nothing is wrong with it, but nobody worked on it in time."
    if place.is_queue_of_work:
        return (
            f"Nothing is wrong with it: its handler failed for good, in attempt "
            f"{message.headers.get(ATTEMPT, 1)}. {log}"
        )
    return (
        "Nothing is wrong with it, yet it was rejected: as a copy of an earlier one "
        f"(replayed), for a key that is accepted by now, or by a bug in its handler. {log}"
    )


def moment(text: str) -> float:
    if text == "now":
        return time()
    for read in (float, lambda text: datetime.fromisoformat(text).astimezone().timestamp()):
        with suppress(ValueError, OverflowError):
            return read(text)
    raise ArgumentTypeError(f"{text!r} is no time; write now, 2026-01-31T12:00:00Z or 1769860800")


def clock_time(moment: float) -> str:
    try:
        local = datetime.fromtimestamp(moment).astimezone()
    except (OverflowError, OSError, ValueError):  # a stranger may claim any number
        return f"{moment} seconds since 1970"
    return f"{local:%Y-%m-%d %H:%M:%S %z} ({distance(moment - time())})"


def distance(seconds: float) -> str:
    size = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if size >= 2 * length:
            text = f"{size / length:.0f} {unit}"
            break
    else:
        text = f"{size:.0f} s"
    return f"in {text}" if seconds > 0 else f"{text} ago"


def plain(text: str) -> str:
    """Make what a stranger wrote harmless to a terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
