"""Acting as one of the services, on the system that a state folder belongs to."""

import asyncio
import sys
from collections.abc import Iterable

from pydantic import ValidationError

from ops.local.running import absence
from ops.services import grants, programs
from ops.services.manifests import events, requests
from ops.state.folder import StateFolder
from postroad.settings import CONTENTS, MessagingSettings, sentences
from postroad.topology.services import Service

OPERATOR = programs.OPERATOR


class CannotAct(Exception):
    """There is nothing to act on, or nobody to act as; the message says which."""


def settings_as(state: StateFolder, service: str) -> MessagingSettings:
    """Give the settings with which to be a service; the operator is made when there is none.

    Raises:
        CannotAct: nobody says where the broker is, or there is no such service.
        BrokerError, GrantError, ServicesFileError, StateError: as ``grants.add`` does.
    """
    if "BROKER_URLS" not in grants.environment(state, service):
        raise CannotAct(absence(state))
    known = programs.allowed_services(state).root
    if service == OPERATOR and known.get(OPERATOR) != operator_rights():
        begins_at_once = asyncio.run(grants.add(state, OPERATOR, operator_rights()))
        if OPERATOR not in known:
            print(f"postroad: made the service {OPERATOR}, to act as", file=sys.stderr)
        if not begins_at_once:
            raise CannotAct(f"one may act as {OPERATOR} {grants.from_when(state)}")
    elif service not in known:
        raise CannotAct(f"no service {service}; add it with 'postroad services add'")
    environment = grants.environment(state, service)
    fields = {name.lower(): value for name, value in environment.items()}
    try:
        # the files, even where our own environment holds what another service would read
        return MessagingSettings.model_validate(fields | dict.fromkeys(CONTENTS))
    except ValidationError as error:
        raise CannotAct("; ".join(sentences(error))) from None


def operator_rights() -> Service:
    """Give the rights to call everything, to hear everything, and to redrive."""
    return Service(calls=_prefixes(requests()), listens=_prefixes(events()), redrives=True)


def _prefixes(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({f"{name.partition('.')[0]}.*" for name in names}))
