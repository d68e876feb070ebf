"""What a program hands to the function that builds its handlers, and what that returns."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from postroad.messaging.client import Client
from postroad.messaging.publishing import MessagePublisher
from postroad.observability.metrics import Metric
from postroad.security.keyring import KeyRing

if TYPE_CHECKING:  # a service without a database has not installed what it takes
    from postroad.storage.database import Database
    from postroad.storage.inbox import Inbox
    from postroad.storage.opening import OpenStore
    from postroad.storage.outbox import Outbox

HandlersT = TypeVar("HandlersT")
SettingsT_co = TypeVar("SettingsT_co", covariant=True)

Background = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wiring(Generic[HandlersT]):
    """A program's handlers, and what else it does.

    ``background``: functions that run beside the handlers until the program stops; one that ends
    by itself ends the program. ``metrics`` are shown beside those of messages and outbox.
    """

    handlers: HandlersT
    background: Iterable[Background] = ()
    metrics: Iterable[Metric] = ()


class Resources(Generic[SettingsT_co]):
    """What a program has: keys, settings, a client, its database.

    ``messages`` publishes events and jobs at once, without an outbox.
    """

    def __init__(
        self,
        keys: KeyRing,
        settings: SettingsT_co,
        *,
        client: Client,
        messages: MessagePublisher,
        store: "OpenStore | None",
        is_development: bool,
    ) -> None:
        self.keys = keys
        self.settings = settings
        self.messages = messages
        self.is_development = is_development
        self.needs_client = False
        self._client = client
        self._store = store

    @property
    def client(self) -> Client:
        """The client to call other services with; it connects before the first message is taken."""
        self.needs_client = True
        return self._client

    @property
    def database(self) -> "Database":
        """The service's database."""
        return self._opened().database

    @property
    def outbox(self) -> "Outbox":
        """Where events and jobs are written in the transaction of their cause."""
        outbox = self._opened().outbox
        if outbox is None:
            raise RuntimeError("the program has no outbox: pass Store(..., outbox=TABLE)")
        return outbox

    @property
    def inbox(self) -> "Inbox":
        """Where messages are noted, so that one that comes twice has its effect once."""
        inbox = self._opened().inbox
        if inbox is None:
            raise RuntimeError("the program has no inbox: pass Store(..., inbox=TABLE)")
        return inbox

    def _opened(self) -> "OpenStore":
        if self._store is None:
            raise RuntimeError("the program has no database: pass store=Store(...)")
        return self._store
