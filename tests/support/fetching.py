"""Fetching from scripted servers: what the tests of the fetcher share."""

from collections.abc import Callable
from typing import Any

import pytest

from catalog_worker.catalog.fetcher import Fetched, Fetcher
from postroad.contracts.errors import ServiceError
from tests.support.upstreams import Script, ScriptedServer, response, says, settings_for

GOOD = says(response(body=b'{"a":1}'))
BROKEN = says(response(500))
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
REST_S = 60

Serve = Callable[[Script], ScriptedServer]


def fetcher_of(
    server: ScriptedServer | str, *, wait_when_open: bool = False, **changes: Any
) -> Fetcher:
    url = server if isinstance(server, str) else server.url
    settings = settings_for(url, **{"breaker_rest_s": REST_S, **changes})
    return Fetcher(settings, wait_when_open=wait_when_open)


def get(fetcher: Fetcher, path: str = "/products") -> Fetched:
    return fetcher.get(path, {})


def failure(fetcher: Fetcher, path: str = "/products") -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        fetcher.get(path, {})
    return raised.value
