"""What a service of another team needs to call ours, and to hear them.

    from shared.contracts.catalog import ListProducts
    from shared.messaging import BlockingClient

A name is imported when it is first asked for, so that this costs a reader of one module nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.contracts.errors import (
        NotAuthorised,
        OutcomeUnknown,
        Overloaded,
        PeerError,
        ReplyTimeout,
        ServiceError,
        Unavailable,
    )
    from shared.messaging.blocking import BlockingClient
    from shared.messaging.client import Client
    from shared.messaging.direct import connect, listen
    from shared.messaging.keys import KeyFileError
    from shared.settings import MessagingSettings, SettingsError

__all__ = [
    "BlockingClient",
    "Client",
    "KeyFileError",
    "MessagingSettings",
    "NotAuthorised",
    "OutcomeUnknown",
    "Overloaded",
    "PeerError",
    "ReplyTimeout",
    "ServiceError",
    "SettingsError",
    "Unavailable",
    "connect",
    "listen",
]

_FROM = {
    "shared.contracts.errors": (
        *("NotAuthorised", "OutcomeUnknown", "Overloaded", "PeerError", "ReplyTimeout"),
        *("ServiceError", "Unavailable"),
    ),
    "shared.messaging.blocking": ("BlockingClient",),
    "shared.messaging.client": ("Client",),
    "shared.messaging.direct": ("connect", "listen"),
    "shared.messaging.keys": ("KeyFileError",),
    "shared.settings": ("MessagingSettings", "SettingsError"),
}

if not TYPE_CHECKING:  # a type checker would take it that any name is here

    def __getattr__(name: str) -> object:
        for module, names in _FROM.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
