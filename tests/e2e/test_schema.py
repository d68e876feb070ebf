"""Generated requests, valid and not, against the running system: does it keep its own document?"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from http_bridge.documents.openapi import build_document
from tests.e2e.conftest import CREDENTIALS
from tests.e2e.system import System, running_system
from tests.support.bridges import ROUTES

pytestmark = pytest.mark.e2e

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 25  # each operation; sign-ins take the time of an Argon2 hash

schema = schemathesis.openapi.from_dict(build_document(ROUTES)).exclude(path="/live")  # has no end
schema.config.generation.with_security_parameters = False  # the token that we give is used


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system of these tests' own: its store is filled, and it answers when upstream does not.

    Wrong passwords that are generated lock nobody out.
    """
    many = {"AUTH_ATTEMPTS_PER_USER": "1000", "AUTH_ATTEMPTS_PER_ADDRESS": "10000"}
    async with running_system(tmp_path_factory.mktemp("system"), **many) as system:
        yield system


@pytest.fixture
def own_token(system: System) -> str:
    """A session of this test's own: one of the operations is to end it."""
    response = requests.post(f"{system.url}/auth", json=CREDENTIALS, timeout=10)
    return str(response.json()["access_token"])


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(
    case: schemathesis.Case[Any], system: System, own_token: str
) -> None:
    response = case.call(base_url=system.url, headers={"Authorization": f"Bearer {own_token}"})

    case.validate_response(response, checks=CHECKS)
