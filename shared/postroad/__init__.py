"""What a service or a caller imports; nothing else is promised.

    from postroad import BlockingClient
    from postroad.contracts.catalog import ListProducts

A name is imported when it is first asked for: all of them take 0.3 s, which is too long for a
command that wants one module, and a worker's need packages that a caller has not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postroad.contracts.base import Event as Event
    from postroad.contracts.base import Request as Request
    from postroad.contracts.errors import NotAuthorised as NotAuthorised
    from postroad.contracts.errors import OutcomeUnknown as OutcomeUnknown
    from postroad.contracts.errors import Overloaded as Overloaded
    from postroad.contracts.errors import PeerError as PeerError
    from postroad.contracts.errors import ReplyTimeout as ReplyTimeout
    from postroad.contracts.errors import ServiceError as ServiceError
    from postroad.contracts.errors import Unavailable as Unavailable
    from postroad.messaging.client import Client as Client
    from postroad.messaging.event_listener import ReceivedEvent as ReceivedEvent
    from postroad.runtime.blocking import BlockingClient as BlockingClient
    from postroad.runtime.connect import connect as connect
    from postroad.runtime.connect import listen as listen
    from postroad.runtime.serve import consume as consume
    from postroad.runtime.serve import serve as serve
    from postroad.security.keys import KeyFileError as KeyFileError
    from postroad.settings import MessagingSettings as MessagingSettings
    from postroad.settings import SettingsError as SettingsError
else:  # a type checker would take it that any name is here
    _MODULES = {
        "BlockingClient": "runtime.blocking",
        "Client": "messaging.client",
        "Event": "contracts.base",
        "KeyFileError": "security.keys",
        "MessagingSettings": "settings",
        "NotAuthorised": "contracts.errors",
        "OutcomeUnknown": "contracts.errors",
        "Overloaded": "contracts.errors",
        "PeerError": "contracts.errors",
        "ReceivedEvent": "messaging.event_listener",
        "ReplyTimeout": "contracts.errors",
        "Request": "contracts.base",
        "ServiceError": "contracts.errors",
        "SettingsError": "settings",
        "Unavailable": "contracts.errors",
        "connect": "runtime.connect",
        "consume": "runtime.serve",
        "listen": "runtime.connect",
        "serve": "runtime.serve",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
