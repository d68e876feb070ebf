"""What a service of another team needs to call ours, and to hear them.

    from postroad.contracts.catalog import ListProducts
    from postroad import BlockingClient

A name is imported when it is first asked for, so that this costs a reader of one module nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postroad.contracts.errors import (
        NotAuthorised,
        OutcomeUnknown,
        Overloaded,
        PeerError,
        ReplyTimeout,
        ServiceError,
        Unavailable,
    )
    from postroad.messaging.client import Client
    from postroad.runtime.blocking import BlockingClient
    from postroad.runtime.connect import connect, listen
    from postroad.security.keys import KeyFileError
    from postroad.settings import MessagingSettings, SettingsError

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
    "postroad.contracts.errors": (
        *("NotAuthorised", "OutcomeUnknown", "Overloaded", "PeerError", "ReplyTimeout"),
        *("ServiceError", "Unavailable"),
    ),
    "postroad.runtime.blocking": ("BlockingClient",),
    "postroad.messaging.client": ("Client",),
    "postroad.runtime.connect": ("connect", "listen"),
    "postroad.security.keys": ("KeyFileError",),
    "postroad.settings": ("MessagingSettings", "SettingsError"),
}

if not TYPE_CHECKING:  # a type checker would take it that any name is here

    def __getattr__(name: str) -> object:
        for module, names in _FROM.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
