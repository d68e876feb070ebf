"""Reading captured messages as the services whose keys a state folder has."""

from time import time

from ops.dead_letters.diagnosis import Diagnosis, Reader
from ops.state.folder import StateFolder
from postroad.dead_letters.captured import CapturedMessage, MessageSource
from postroad.security.claims import Claims, Refused
from postroad.security.keyring import KeyRing
from postroad.security.keys import TrustBundle
from postroad.security.signatures import read_signature


class UnknownReader(Exception):
    """It is not known who reads a message, or with which keys; the message says what is missing."""


class Readers:
    """The services that may have read a message, each with its keys in the state folder."""

    def __init__(self, state: StateFolder, reader: str | None = None) -> None:
        """``reader`` reads whatever there is; by default that follows from the message."""
        self._state = state
        self._name = reader
        self._trust = TrustBundle.load(state.trust_file)
        self._readers: dict[str, Reader] = {}

    def diagnose(
        self, message: CapturedMessage, at: float | None = None, source: MessageSource | None = None
    ) -> Diagnosis:
        """Run the checks of a message's reader.

        Args:
            at: the time to check against; by default when it was refused, or else signed.
            source: where it was, unless the message says so itself.

        Raises:
            UnknownReader: the reader, or its keys, are not known here.
        """
        claims = claims_of(message)
        source = source or self._source(message, claims)
        now = at if at is not None else message.rejected_at or (claims.iat if claims else time())
        return self._reader(source).diagnose(message, source, now)

    def _source(self, message: CapturedMessage, claims: Claims | None) -> MessageSource:
        source = message.place() or (MessageSource(claims.typ, claims.aud) if claims else None)
        if source is None:
            if self._name is None:
                raise UnknownReader(
                    "neither the message nor where it was says whose it is; name the reader with "
                    "--as SERVICE"
                )
            source = MessageSource("request", self._name)
        reader = self._name or (
            None if source.typ == "event" and not source.is_queue_of_work else source.reader
        )
        return MessageSource(source.typ, reader, source.is_queue_of_work)

    def _reader(self, source: MessageSource) -> Reader:
        # any service can verify an event, so the first whose keys are here will do
        services, reader = self._trust.services, source.reader
        if reader is None:
            here = (each for each in services if self._state.identity_file(each).exists())
            reader = next(here, None)
        is_known = reader in services  # else it is whatever the message says
        if reader is None or not is_known or not self._state.identity_file(reader).exists():
            raise UnknownReader(
                f"{self._state.folder} has no keys of {reader or 'any service'}, which reads this"
            )
        if reader not in self._readers:
            keys = KeyRing.load(self._state.identity_file(reader), self._state.trust_file)
            self._readers[reader] = Reader(keys)
        return self._readers[reader]


def claims_of(message: CapturedMessage) -> Claims | None:
    try:
        return read_signature(message.headers.get("signature")).claims
    except Refused:
        return None
