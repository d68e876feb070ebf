"""Start the HTTP bridge: ``python -m http_bridge``."""

import uvicorn

from http_bridge.app import Bridge
from http_bridge.limits import limited_protocol
from http_bridge.settings import BridgeSettings
from shared.logs import configure_logging
from shared.messaging.client import Client
from shared.messaging.keys import Identity, KeyRing, TrustBundle
from shared.messaging.rabbitmq import RabbitBroker
from shared.settings import LogSettings, MessagingSettings, read_settings

SERVICE = "bridge"


def main() -> None:
    settings = read_settings(BridgeSettings)
    messaging = read_settings(MessagingSettings)
    configure_logging(SERVICE, read_settings(LogSettings))
    trust = TrustBundle.load(messaging.trust_file)
    keys = KeyRing(Identity.load(messaging.identity_file), trust)
    client = Client(RabbitBroker(messaging, SERVICE), keys, calls=("auth", "catalog"))
    uvicorn.run(
        Bridge(client, trust, settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=limited_protocol(settings.headers_max_bytes),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )


if __name__ == "__main__":
    main()
