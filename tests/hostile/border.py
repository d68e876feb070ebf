"""The places where a message from outside is let in or refused, and an honest one for each."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Protocol

from pika import BasicProperties

from ops.services.operator import OPERATOR, operator_rights
from postroad.broker.interfaces import Delivery
from postroad.broker.memory.broker import MemoryBroker
from postroad.contracts.auth import ListRevocations
from postroad.contracts.base import Message
from postroad.contracts.catalog import GetProduct
from postroad.contracts.errors import NotAuthenticated, NotAuthorised, Problem, ServiceError
from postroad.contracts.events import SessionRevoked, SyncRequested
from postroad.contracts.registry import CONTRACTS
from postroad.contracts.syncs import FetchPage
from postroad.ids import new_id
from postroad.messaging.admission import Admission, Late
from postroad.messaging.background_worker import BackgroundWorker
from postroad.messaging.client import Client, _Waiting
from postroad.messaging.event_listener import EventListener
from postroad.messaging.reply import Reply
from postroad.security.claims import Refused
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle, unpadded_b64decode
from postroad.security.lasting_signatures import LastingSigner
from postroad.security.signatures import Signer, Verifier
from postroad.security.token_verifier import Revocations
from postroad.testing import access_token
from postroad.topology.definitions import definitions
from postroad.topology.manifest import find_services
from postroad.topology.services import Services, trust_bundle
from tests.support.letters import write
from tests.support.services import LAMP

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0


class NotLetIn(Exception):
    """The message is refused, in one of the ways that are documented."""


@dataclass(frozen=True)
class Envelope:
    """A message as it arrives."""

    body: bytes
    properties: Mapping[str, Any]

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties["headers"])

    @property
    def signature(self) -> str:
        return str(self.headers.get("signature", ""))

    @property
    def protected(self) -> bytes:
        return unpadded_b64decode(self.signature.partition("..")[0])

    def with_header(self, name: Any, value: Any) -> "Envelope":
        return self.with_property("headers", self.headers | {name: value})

    def with_property(self, name: str, value: Any) -> "Envelope":
        return replace(self, properties={**self.properties, name: value})

    def arrives(self) -> Delivery:
        # as pika reads them from the wire: into attributes, without looking at their types
        properties = BasicProperties()
        for name, value in self.properties.items():
            setattr(properties, name, value)
        return Delivery(self.body, properties)


class Border(Protocol):
    """Lets a message in and gives all that is acted on, or refuses it."""

    def __call__(self, envelope: Envelope) -> object:
        """Let a message in.

        Raises:
            NotLetIn: it is refused.
        """


@dataclass(frozen=True)
class Crossing:
    """A border, an honest message for it, and who signed that for whom."""

    border: Border
    honest: Envelope
    sender: str
    receiver: str


class Land:
    """All borders of a system, with keys of its own."""

    def __init__(self) -> None:
        ours = find_services(ROOT)
        services = Services(ours.root | {OPERATOR: operator_rights()})
        identities = {name: Identity.create(name) for name in services.root}
        trust = TrustBundle.model_validate(trust_bundle(services, identities.values()))
        self.keys = {name: KeyRing(identity, trust) for name, identity in identities.items()}
        self._user = access_token(self.keys["bridge"], identities["auth"])
        self._broker = MemoryBroker(definitions(services))
        self.crossings: dict[str, Callable[[], Crossing]] = {
            "request": self._request,
            "request without a user": self._request_of_a_service,
            "reply": self._reply,
            "event": self._event,
            "job": self._job,
            "event in a work queue": self._event_as_work,
            "redrive": self._redrive,
        }

    def _request(self) -> Crossing:
        letter = write(
            self.keys["bridge"],
            GetProduct(product_id=7),
            reply_to="reply.bridge.x",
            timeout_s=TIMEOUT_S,
            user=self._user,
        )
        honest = Envelope(letter.body, letter.properties)
        return Crossing(partial(self._admit, "catalog"), honest, "bridge", "catalog")

    def _request_of_a_service(self) -> Crossing:
        letter = write(
            self.keys["catalog"],
            ListRevocations(),
            reply_to="reply.catalog.x",
            timeout_s=TIMEOUT_S,
        )
        honest = Envelope(letter.body, letter.properties)
        return Crossing(partial(self._admit, "auth"), honest, "catalog", "auth")

    def _admit(self, service: str, envelope: Envelope) -> object:
        admission = Admission(self.keys[service], CONTRACTS, Revocations())
        arrival = envelope.arrives()
        try:
            claims = admission.verify(arrival)
            token = (arrival.properties.headers or {}).get("authorization")
            return admission.authorise(claims, token), arrival.body
        except (Refused, Late, NotAuthenticated, NotAuthorised) as error:
            raise NotLetIn(str(error)) from error

    def _reply(self) -> Crossing:
        request = self._request().honest
        claims = Verifier(self.keys["catalog"]).verify(
            request.signature, request.body, typ="request"
        )
        body = LAMP.model_dump_json().encode()
        signature = Signer(self.keys["catalog"]).reply(claims, body=body, message_id=new_id())
        honest = Envelope(body, _properties("catalog", claims.op, signature))
        return Crossing(partial(self._take_reply, claims.jti), honest, "catalog", "bridge")

    def _take_reply(self, request_id: str, envelope: Envelope) -> Reply[Message] | Problem:
        client = Client(self._broker.as_user("bridge"), self.keys["bridge"])
        reply: Any = Future()  # as good as asyncio's here, and needs no loop
        waiting = _Waiting(GetProduct(product_id=LAMP.id), reply, began=time())
        client._waiting[request_id] = waiting
        client._on_reply(envelope.arrives())
        if not waiting.reply.done():
            raise NotLetIn(str(client.counts))
        try:
            return waiting.reply.result()
        except ServiceError as error:  # signed by the peer as one
            return error.to_problem()

    def _event(self) -> Crossing:
        event = SessionRevoked(session_id="s", user_id=1, until=time() + 60)
        body = event.model_dump_json().encode()
        signature = LastingSigner(self.keys["auth"]).event(
            name=event.name, body=body, message_id=new_id(), correlation_id="c"
        )
        honest = Envelope(body, _properties("auth", event.name, signature))
        return Crossing(self._hear, honest, "auth", "bridge")

    def _hear(self, envelope: Envelope) -> SessionRevoked:
        heard: list[SessionRevoked] = []
        listener = EventListener(
            {SessionRevoked: lambda received: heard.append(received.event)},
            broker=self._broker.as_user("bridge"),
            keys=self.keys["bridge"],
        )
        listener._on_delivery(envelope.arrives())
        if not heard:
            raise NotLetIn(str(listener.counts))
        return heard[0]

    def _job(self) -> Crossing:
        job = FetchPage(sync_id="s", skip=0, limit=10)
        body = job.model_dump_json().encode()
        signature = LastingSigner(self.keys["catalog"]).job(
            audience="catalog", name=job.name, body=body, message_id=new_id(), correlation_id="c"
        )
        honest = Envelope(body, _properties("catalog", job.name, signature))
        return Crossing(self._take_work, honest, "catalog", "catalog")

    def _event_as_work(self) -> Crossing:
        event = SyncRequested(sync_id="s")
        body = event.model_dump_json().encode()
        signature = LastingSigner(self.keys["catalog"]).event(
            name=event.name, body=body, message_id=new_id(), correlation_id="c"
        )
        honest = Envelope(body, _properties("catalog", event.name, signature))
        return Crossing(self._take_work, honest, "catalog", "catalog")

    def _redrive(self) -> Crossing:
        job = self._job().honest
        dead = Verifier(self.keys["catalog"]).verify(job.signature, job.body, typ="job")
        signature = LastingSigner(self.keys["operator"]).redrive(
            dead, audience="catalog", body=job.body
        )
        honest = Envelope(job.body, _properties("operator", dead.op, signature))
        return Crossing(self._take_work, honest, "operator", "catalog")

    def _take_work(self, envelope: Envelope) -> object:
        user = self._broker.as_user("catalog")
        worker = BackgroundWorker(
            "sync",
            {SyncRequested: _nothing, FetchPage: _nothing},
            broker=user,
            publisher=user.publisher(),
            keys=self.keys["catalog"],
        )
        try:
            work = worker._check(envelope.arrives())
        except Refused as error:
            raise NotLetIn(str(error)) from error
        return work.claims, work.attempt, work.delivery.body


async def _nothing(_: object) -> None:
    return None


def _properties(service: str, name: str, signature: str) -> dict[str, Any]:
    return {
        "content_type": "application/json",
        "type": name,
        "headers": {"signature": signature},
        "delivery_mode": 2,
        "message_id": "m",
        "correlation_id": "c",
        "timestamp": int(time()),
        "user_id": service,
    }
