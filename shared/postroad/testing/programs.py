"""What a program hands to the function that builds its handlers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from postroad.messaging.client import Client
from postroad.messaging.publishing import MessagePublisher
from postroad.runtime.resources import Resources
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from postroad.storage.inbox import Inbox
from postroad.storage.migrate import migrate
from postroad.storage.opening import OpenStore, Store
from postroad.storage.outbox import Outbox
from postroad.testing.relaying import relaying
from postroad.testing.running import Reachable, calling

SettingsT = TypeVar("SettingsT")


@asynccontextmanager
async def program(
    broker: Reachable,
    keys: KeyRing,
    folder: Path,
    *,
    settings: SettingsT,
    store: Store | None = None,
) -> AsyncIterator[Resources[SettingsT]]:
    """Give the resources of a program of the service whose keys these are.

    Its database is a new SQLite file in ``folder``, migrated; what is written into its outbox is
    sent. A service with ``calls`` has a client that is connected.
    """
    async with AsyncExitStack() as running:
        user = broker.as_user(keys.service)
        publisher = user.publisher()
        await publisher.start()
        running.push_async_callback(publisher.close)
        if keys.trust.services[keys.service].calls:
            client = await running.enter_async_context(calling(broker, keys))
        else:
            client = Client(user, keys)
        opened = _open(store, folder) if store is not None else None
        if opened is not None:
            running.callback(opened.close)
            if opened.outbox is not None:
                sending = relaying(broker, keys, opened.outbox, opened.database)
                await running.enter_async_context(sending)
        yield Resources(
            keys,
            settings,
            client=client,
            messages=MessagePublisher(publisher, keys),
            store=opened,
            is_development=True,
        )


def _open(store: Store, folder: Path) -> OpenStore:
    url = f"sqlite:///{folder / store.schema.service}.db"
    migrate(url, store.schema)
    return OpenStore(
        Database(url),
        store.settings(database_url=SecretStr(url)),
        outbox=None if store.outbox is None else Outbox(store.outbox),
        inbox=None if store.inbox is None else Inbox(store.inbox),
    )
