"""Acting as one of the services, on the system that runs on a state folder."""

import asyncio
import sys
from collections.abc import Iterable

from ops import grants, services
from ops.state import State
from shared.contracts.registry import CONTRACTS, EVENTS
from shared.messaging.services import Service
from shared.settings import CONTENTS, MessagingSettings

OPERATOR = "operator"  # the service that people act as; made when it is first needed


class CannotAct(Exception):
    """There is nothing to act on, or nobody to act as; the message says which."""


def settings_as(state: State, service: str) -> MessagingSettings:
    """Give the settings with which to be a service; the operator is made when there is none.

    Raises:
        CannotAct: nothing runs, or there is no such service.
        BrokerError, GrantError, ServicesFileError, StateError: as ``grants.add`` does.
    """
    broker = grants.running_broker(state)
    if broker is None:
        raise CannotAct(f"nothing runs on {state.folder}; start it with 'postroad up'")
    known = services.allowed_services(state).root
    if service == OPERATOR and known.get(OPERATOR) != operator_rights():
        asyncio.run(grants.add(state, OPERATOR, operator_rights()))
        print(f"postroad: made the service {OPERATOR}, to act as", file=sys.stderr)
    elif service not in known:
        raise CannotAct(f"no service {service}; add it with 'postroad services add'")
    environment = services.messaging_environment(state, service, broker.address)
    fields = {name.lower(): value for name, value in environment.items()}
    # the files, even where our own environment holds what another service would read
    return MessagingSettings.model_validate(fields | dict.fromkeys(CONTENTS))


def operator_rights() -> Service:
    """Give the rights to call everything, to hear everything, and to redrive."""
    return Service(calls=_prefixes(CONTRACTS), listens=_prefixes(EVENTS), redrives=True)


def _prefixes(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({f"{name.partition('.')[0]}.*" for name in names}))
