"""A client from settings alone, for services that are not one of ours, and for scripts.

    async with connect() as client:
        page = await client.call(ListProducts(limit=5))

``shared.messaging.blocking`` does the same without ``async``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.messaging.client import Client
from shared.messaging.keyring import KeyRing, watch_key_files
from shared.messaging.rabbitmq import RabbitBroker
from shared.settings import MessagingSettings, settings_from_environment


@asynccontextmanager
async def connect(settings: MessagingSettings | None = None) -> AsyncIterator[Client]:
    """Give a connected client, by default with the settings that the environment says.

    While the broker is away its calls raise ``Unavailable``; it comes back by itself. New keys
    are taken up as they appear in their files.

    Raises:
        SettingsError: variables are missing or wrong.
        KeyFileError: a key file is.
        OSError: the password file is.
    """
    settings = settings or settings_from_environment(MessagingSettings)
    keys = KeyRing.load(settings.identity_file, settings.trust_file)
    client = Client(RabbitBroker(settings, keys.service), keys)
    watch = asyncio.create_task(watch_key_files(keys, settings.identity_file, settings.trust_file))
    try:
        await client.start()
        await client.opened(settings.broker_connect_timeout_s)
        yield client
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await client.close()
