"""Start the HTTP bridge: ``python -m http_bridge``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from http_bridge.app import Bridge
from http_bridge.asgi.limited_protocol import Limits, allow_connections, limited_protocol
from http_bridge.asgi.server import run
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.routes.table import SERVICES
from http_bridge.settings import BridgeSettings
from postroad.broker.rabbitmq import RabbitBroker
from postroad.messaging.client import Client
from postroad.observability.exporting import exporting_spans
from postroad.observability.logging import configure_logging
from postroad.observability.metrics_server import serving_metrics
from postroad.runtime.metrics import client_metrics, traffic_metrics
from postroad.runtime.revocation_feed import RevocationFeed
from postroad.security.keyring import KeyRing, watch_key_files
from postroad.security.revocations import Revocations
from postroad.settings import (
    LogSettings,
    MessagingSettings,
    MetricsSettings,
    TracingSettings,
    read_settings,
)


def main() -> None:
    settings = read_settings(BridgeSettings)
    messaging = read_settings(MessagingSettings)
    configure_logging("bridge", read_settings(LogSettings))
    bridge = build_bridge(settings, messaging, read_settings(MetricsSettings))
    run(
        bridge,
        on_stop=bridge.monitor.stop,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=limited_protocol(limits_of(settings)),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )


def limits_of(settings: BridgeSettings) -> Limits:
    return Limits(
        headers_max_bytes=settings.headers_max_bytes,
        receive_timeout_s=settings.receive_timeout_s,
        send_timeout_s=settings.send_timeout_s,
        connections_max=allow_connections(settings.connections_max),
    )


def build_bridge(
    settings: BridgeSettings, messaging: MessagingSettings, metrics: MetricsSettings
) -> Bridge:
    """Put the application and what it speaks through together; nothing connects yet."""
    keys = KeyRing.load(messaging.identity_file, messaging.trust_file)
    broker = RabbitBroker(messaging, keys.service)
    client = Client(broker, keys, watches=SERVICES)
    monitor = BrokerMonitor(broker, keys, services=SERVICES)
    revocations = Revocations()
    feed = RevocationFeed(revocations, broker=broker, keys=keys, client=client)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        shown = (*bridge.metrics(), *client_metrics(client), *traffic_metrics(broker.traffic))
        async with (
            exporting_spans(keys.service, read_settings(TracingSettings)),
            serving_metrics(metrics, shown),
        ):
            await client.start()
            await feed.start()
            watching = asyncio.create_task(
                watch_key_files(keys, messaging.identity_file, messaging.trust_file)
            )
            try:
                yield
            finally:
                watching.cancel()
                await monitor.close()
                await feed.close()
                await client.close()

    bridge = Bridge(
        settings,
        client=client,
        keys=keys,
        revocations=revocations,
        monitor=monitor,
        lifespan=lifespan,
        is_current=lambda: feed.is_current,
    )
    return bridge


if __name__ == "__main__":
    main()
