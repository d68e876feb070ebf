"""What the bridge is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from http_bridge.app import Bridge
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.calls.gate import Calls
from http_bridge.calls.probes import ServiceProbes
from http_bridge.documents import openapi
from http_bridge.documents.asyncapi_page import messages_page
from http_bridge.http.authentication import RequestTokens
from http_bridge.http.lockouts import Lockouts
from http_bridge.http.site import Site
from http_bridge.routes.backend import Backend
from http_bridge.routes.routing import Route
from http_bridge.routes.table import routes_of, services_behind, shown
from http_bridge.settings import BridgeSettings
from postroad.asyncapi import document as asyncapi
from postroad.broker.rabbitmq import RabbitBroker
from postroad.messaging.client import Client
from postroad.observability.exporting import exporting_spans
from postroad.observability.metrics_server import serving_metrics
from postroad.runtime.metrics import client_metrics, traffic_metrics
from postroad.runtime.revocation_feed import RevocationFeed
from postroad.security.key_watch import watch_key_files
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.settings import (
    EnvironmentSettings,
    MessagingSettings,
    MetricsSettings,
    TracingSettings,
    read_settings,
)
from postroad.topology.manifest import Manifest, find_manifests
from postroad.topology.names import rpc_queue, work_queue

ROOT = Path(__file__).parents[1]  # the services are the packages beside ours


def build_bridge(
    settings: BridgeSettings, messaging: MessagingSettings, metrics: MetricsSettings
) -> tuple[Bridge, BrokerMonitor]:
    """Put the application and what it speaks through together; nothing connects yet."""
    manifests = find_manifests(ROOT)
    routes = shown(routes_of(manifests), has_docs=settings.docs)
    services = services_behind(routes)
    tracing = read_settings(TracingSettings)
    keys = KeyRing.load(messaging.identity_file, messaging.trust_file)
    broker = RabbitBroker(messaging, keys.service)
    client = Client(broker, keys, watches=services)
    monitor = BrokerMonitor(broker, keys, queues=queues_of(manifests, services))
    revocations = Revocations()
    feed = RevocationFeed(revocations, broker=broker, keys=keys, client=client)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        shown = (*bridge.metrics(), *client_metrics(client), *traffic_metrics(broker.traffic))
        async with (
            exporting_spans(keys.service, tracing),
            serving_metrics(metrics, shown),
        ):
            await client.start()
            await feed.start()
            watching = asyncio.create_task(
                watch_key_files(keys, messaging.identity_file, messaging.trust_file)
            )
            try:
                if settings.fds:  # another bridge may listen there too, and can answer already
                    await client.opened(messaging.broker_connect_timeout_s)
                yield
            finally:
                watching.cancel()
                await monitor.close()
                await feed.close()
                await client.close()

    backend = make_backend(
        routes,
        settings,
        client=client,
        keys=keys,
        revocations=revocations,
        monitor=monitor,
        is_current=lambda: feed.is_current,
        is_development=read_settings(EnvironmentSettings).is_development,
    )
    bridge = Bridge(routes, backend, lifespan=lifespan)
    return bridge, monitor


def queues_of(manifests: Iterable[Manifest], services: Iterable[str]) -> list[str]:
    """Return the queues that the page shows: of requests to these services, and of all work."""
    works = [work_queue(each.name, key) for each in manifests for key in each.rights.works]
    return [*map(rpc_queue, services), *works]


def make_backend(
    routes: Sequence[Route],
    settings: BridgeSettings,
    *,
    client: Client,
    keys: KeyRing,
    revocations: Revocations,
    monitor: BrokerMonitor,
    is_current: Callable[[], bool],
    is_development: bool,
) -> Backend:
    """Put together what the handlers of a table of routes answer with."""
    messages = asyncapi.build_document()
    return Backend(
        calls=Calls(client, timeout_s=settings.timeout_s, in_flight_max=settings.in_flight_max),
        client=client,
        keys=keys,
        site=Site(settings.public_url, host=settings.host, is_development=is_development),
        tokens=RequestTokens(TokenVerifier(keys, revocations), revocations),
        lockouts=Lockouts(),
        monitor=monitor,
        probes=ServiceProbes(client),
        is_current=is_current,
        body_max_bytes=settings.body_max_bytes,
        links={route.link: route.path for route in routes if route.link is not None},
        documents={
            "openapi": orjson.dumps(openapi.build_document(routes)),
            "asyncapi": orjson.dumps(messages),
            "messages": messages_page(messages).encode(),
        },
    )
