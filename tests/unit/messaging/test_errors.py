"""Errors of a service's own package, on their way from its handler to who called it."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from postroad.contracts.auth import CreateSession, Session
from postroad.contracts.errors import ERRORS, InvalidCredentials, PeerError, ServiceError
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing
from postroad.testing import serving
from tests.support.brokers import MemoryUnderTest
from tests.support.services import SIGN_IN


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Forget the classes that a test defines."""
    with patch.dict(ERRORS):
        yield


async def call_and_fail(
    broker: MemoryUnderTest, client: Client, keys: KeyRing, failure: ServiceError
) -> ServiceError:
    """Call a service whose handler raises this; return what the caller gets."""

    async def fail(_: CreateSession) -> Session:
        raise failure

    async with serving(broker, keys, {CreateSession: fail}):
        with pytest.raises(ServiceError) as raised:
            await client.call(SIGN_IN)
    return raised.value


async def test_an_error_of_another_package_arrives_as_itself(
    memory_broker: MemoryUnderTest, client: Client, keys: dict[str, KeyRing]
) -> None:
    class DoorIsStuck(ServiceError):
        code = "door_is_stuck"
        title = "The door is stuck"
        is_retryable = True

    failure = DoorIsStuck("push", retry_after_s=3)

    error = await call_and_fail(memory_broker, client, keys["auth"], failure)

    assert type(error) is DoorIsStuck
    assert (str(error), error.retry_after_s, error.is_retryable) == ("push", 3, True)


async def test_an_error_derived_from_another_arrives_as_itself(
    memory_broker: MemoryUnderTest, client: Client, keys: dict[str, KeyRing]
) -> None:
    class PasswordExpired(InvalidCredentials):
        code = "password_expired"

    error = await call_and_fail(memory_broker, client, keys["auth"], PasswordExpired())

    assert type(error) is PasswordExpired
    assert client.ended["auth.sessions.create", "password_expired"] == 1


async def test_an_error_that_the_caller_has_not_imported_arrives_as_a_peer_error(
    memory_broker: MemoryUnderTest, client: Client, keys: dict[str, KeyRing]
) -> None:
    class DoorIsStuck(ServiceError):
        code = "door_is_stuck"
        title = "The door is stuck"

    del ERRORS[DoorIsStuck.code]  # as in a process of its own

    error = await call_and_fail(memory_broker, client, keys["auth"], DoorIsStuck("push"))

    assert type(error) is PeerError
    assert str(error) == "push"
