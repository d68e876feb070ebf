"""Start the HTTP bridge: ``python -m http_bridge``."""

from typing import Any

import structlog

from http_bridge.app import Bridge
from http_bridge.asgi.limits import Limits
from http_bridge.asgi.protocol import limited_protocol
from http_bridge.asgi.server import allow_connections, run
from http_bridge.settings import BridgeSettings
from http_bridge.wiring import build_bridge
from postroad.observability.logging import configure_logging
from postroad.settings import (
    EnvironmentSettings,
    LogSettings,
    MessagingSettings,
    MetricsSettings,
    read_settings,
)

log = structlog.get_logger()

HSTS = ("strict-transport-security", "max-age=31536000")  # RFC 6797: a year, this host alone
NO_PUBLIC_URL = (
    "BRIDGE_PUBLIC_URL is not set: cookies are Secure only where a proxy that FORWARDED_ALLOW_IPS "
    "names says https, and users sign in under whatever name this server is called by"
)


def main() -> None:
    settings = read_settings(BridgeSettings)
    messaging = read_settings(MessagingSettings)
    configure_logging("bridge", read_settings(LogSettings))
    if settings.public_url is None and not read_settings(EnvironmentSettings).is_development:
        log.warning(NO_PUBLIC_URL)
    bridge, monitor = build_bridge(settings, messaging, read_settings(MetricsSettings))
    run(
        bridge,
        on_stop=monitor.stop,
        host=settings.host,
        port=settings.port,
        fds=settings.fds,
        loop="uvloop",
        http=limited_protocol(limits_of(settings, bridge)),
        ws="none",
        workers=1,  # else uvicorn reads WEB_CONCURRENCY
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        **outside_of(settings),
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )


def outside_of(settings: BridgeSettings) -> dict[str, Any]:
    """Return uvicorn's settings of proxies, which are believed, and of headers of every answer."""
    is_https = settings.public_url is not None and settings.public_url.startswith("https:")
    return {
        "proxy_headers": bool(settings.forwarded_allow_ips),
        "forwarded_allow_ips": settings.forwarded_allow_ips,
        "timeout_keep_alive": settings.keep_alive_s,
        "headers": [HSTS] if is_https else [],
    }


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
