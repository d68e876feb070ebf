"""Start the HTTP bridge: ``python -m http_bridge``."""

from http_bridge.app import Bridge
from http_bridge.asgi.limits import Limits
from http_bridge.asgi.protocol import limited_protocol
from http_bridge.asgi.server import allow_connections, run
from http_bridge.settings import BridgeSettings
from http_bridge.wiring import build_bridge
from postroad.observability.logging import configure_logging
from postroad.settings import LogSettings, MessagingSettings, MetricsSettings, read_settings


def main() -> None:
    settings = read_settings(BridgeSettings)
    messaging = read_settings(MessagingSettings)
    configure_logging("bridge", read_settings(LogSettings))
    bridge, monitor = build_bridge(settings, messaging, read_settings(MetricsSettings))
    run(
        bridge,
        on_stop=monitor.stop,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=limited_protocol(limits_of(settings, bridge)),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )


def limits_of(settings: BridgeSettings, bridge: Bridge) -> Limits:
    return Limits(
        headers_max_bytes=settings.headers_max_bytes,
        receive_timeout_s=settings.receive_timeout_s,
        send_timeout_s=settings.send_timeout_s,
        connections_max=allow_connections(settings.connections_max),
        refuse=bridge.refuse,
    )


if __name__ == "__main__":
    main()
