"""Device tokens: whose they are, and for how long."""

import pytest

from auth_worker.devices import LIFETIME_S, Devices
from auth_worker.users import User
from postroad.contracts.auth import DEVICE_TOKEN_MAX
from postroad.security.keyring import KeyRing
from postroad.security.rotation import rotate
from tests.support.auth import Clock, make_keys

KEYS = make_keys()["auth"]
ALICE = User(7, "reader", "hash", 1, ("user",), False, False)
BOB = User(8, "writer", "hash", 1, ("user",), False, False)
ALICE_SINCE = User(7, "reader", "hash", 2, ("user",), False, False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def devices(clock: Clock) -> Devices:
    return Devices(KEYS, clock=clock)


def test_a_token_is_its_users_and_names_one_client(devices: Devices) -> None:
    token, another = devices.issue(ALICE), devices.issue(ALICE)

    assert devices.read(token, ALICE)
    assert devices.read(token, ALICE) != devices.read(another, ALICE)
    assert len(token) <= DEVICE_TOKEN_MAX


@pytest.mark.parametrize("user", [BOB, ALICE_SINCE, None])
def test_a_token_is_nobody_elses_nor_of_another_password(
    devices: Devices, user: User | None
) -> None:
    assert devices.read(devices.issue(ALICE), user) is None


def test_a_token_expires(devices: Devices, clock: Clock) -> None:
    token = devices.issue(ALICE)

    clock.now += LIFETIME_S

    assert devices.read(token, ALICE) is None


def test_a_token_outlives_the_key_for_as_long_as_that_is_kept(devices: Devices) -> None:
    token = devices.issue(ALICE)

    rotated = Devices(KeyRing(rotate(KEYS.identity), KEYS.trust), clock=Clock())

    assert rotated.read(token, ALICE) == devices.read(token, ALICE)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_no_part_of_a_token_can_be_changed(devices: Devices, part: int) -> None:
    parts = devices.issue(ALICE).split(".")
    parts[part] = parts[part][::-1]

    assert devices.read(".".join(parts), ALICE) is None


@pytest.mark.parametrize("token", ["", ".", "..", "1.2", "x.y.z", "\xff.\xff.\xff", "9" * 200])
def test_what_is_no_token_is_nobodys(devices: Devices, token: str) -> None:
    assert devices.read(token, ALICE) is None
