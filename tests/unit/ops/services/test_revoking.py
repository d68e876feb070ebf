"""Services that are revoked while nothing runs on their state folder."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy
from unittest.mock import Mock

import pytest

from ops.local.broker import PrivateBroker
from ops.local.running import addresses
from ops.services import grants, manifests, programs
from ops.services.grants import GrantError
from ops.state import credentials
from ops.state.folder import StateError, StateFolder
from postroad.security.keys import TrustBundle
from postroad.topology.services import ServicesFileError
from tests.unit.ops.services.conftest import SHOP


class Deleting(PrivateBroker):
    """A broker that notes which users it deletes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.deleted: list[str] = []

    async def ctl(self, *arguments: str) -> str:
        if arguments[0] == "export_definitions":
            return "{}"
        assert arguments[0] == "delete_user"
        self.deleted.append(arguments[1])
        return ""


async def test_what_was_cut_short_while_it_was_revoked_can_be_revoked_again(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grants.add(state, "shop", SHOP)
    before = credentials.identity(state, "shop")

    def fail(_text: str) -> None:
        raise StateError("the disk is full")

    with monkeypatch.context() as cut:
        cut.setattr(state, "write_services", fail)
        with pytest.raises(StateError):
            await grants.revoke(state, "shop")

    assert state.revoked() == {"shop"}
    assert "shop" not in TrustBundle.load(state.trust_file).services
    assert not state.identity_file("shop").exists()
    await grants.revoke(state, "shop")
    assert programs.added_services(state).names == []
    await grants.add(state, "shop", SHOP)
    assert credentials.identity(state, "shop") != before


async def test_what_the_broker_was_not_told_of_can_be_revoked_again(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await grants.add(state, "shop", SHOP)
    broker = Deleting(state.broker_folder)
    monkeypatch.setattr(grants, "running_broker", lambda _: broker)
    monkeypatch.setattr(grants, "listens", lambda _: True)
    with monkeypatch.context() as cut:
        cut.setattr(broker, "ctl", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await grants.revoke(state, "shop")

    await grants.revoke(state, "shop")

    assert broker.deleted == ["shop"]
    assert state.revoked() == set()


async def test_the_user_of_a_service_that_was_added_again_is_not_deleted(
    state: StateFolder,
) -> None:
    await grants.add(state, "shop", SHOP)
    with state.changing():
        state.write_revoked({"shop", "till"})
    broker = Deleting(state.broker_folder)

    await grants.forget_revoked(state, broker)

    assert broker.deleted == ["till"]


async def test_a_revoked_service_has_no_keys_and_no_rights(state: StateFolder) -> None:
    await grants.add(state, "shop", SHOP)

    await grants.revoke(state, "shop")

    assert "shop" not in TrustBundle.load(state.trust_file).services
    assert "shop" not in programs.allowed_services(state).root
    assert not state.identity_file("shop").exists()
    assert not state.password_file("shop").exists()
    assert state.revoked() == {"shop"}  # for the broker to forget when it is there


async def test_a_service_added_after_it_was_revoked_has_new_keys_and_stays(
    state: StateFolder,
) -> None:
    await grants.add(state, "shop", SHOP)
    before = credentials.identity(state, "shop")
    await grants.revoke(state, "shop")

    await grants.add(state, "shop", SHOP)

    assert credentials.identity(state, "shop") != before
    assert state.revoked() == set()


@pytest.mark.parametrize(
    ("name", "reason"), [("bridge", "one of our own"), ("nobody", "no service nobody was added")]
)
async def test_only_what_was_added_can_be_revoked(
    state: StateFolder, name: str, reason: str
) -> None:
    with pytest.raises(GrantError, match=reason):
        await grants.revoke(state, name)


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Take a service among our own, as somebody does who writes one."""

    def take(name: str) -> None:
        for each in manifests.manifests():
            tmp_path.joinpath(each.folder.name).mkdir()
            copy(each.folder / "service.toml", tmp_path / each.folder.name)
        package = tmp_path / f"{name}_worker"
        package.mkdir()
        package.joinpath("service.toml").write_text(f"name = '{name}'\nrights.answers = true\n")
        monkeypatch.setattr(manifests, "ROOT", tmp_path)

    return take


async def test_an_added_service_whose_name_we_take_is_revoked_and_then_ours(
    state: StateFolder, ours: Callable[[str], None]
) -> None:
    await grants.add(state, "shop", SHOP)
    theirs = credentials.identity(state, "shop"), state.password("shop")
    ours("shop")
    with pytest.raises(ServicesFileError, match="'postroad services revoke shop'"):
        programs.allowed_services(state)

    await grants.revoke(state, "shop")

    assert "shop" not in TrustBundle.load(state.trust_file).services
    programs.write_trust(state, programs.allowed_services(state))  # as the next start does
    assert theirs[0].keys[0].public() not in (
        TrustBundle.load(state.trust_file).services["shop"].keys
    )
    assert theirs[1] != state.password("shop")


async def test_the_user_of_a_service_that_became_ours_is_not_deleted(
    state: StateFolder, ours: Callable[[str], None]
) -> None:
    with state.changing():
        state.write_revoked({"shop", "till"})
    ours("shop")
    broker = Deleting(state.broker_folder)

    await grants.forget_revoked(state, broker)

    assert broker.deleted == ["till"]
    assert state.revoked() == set()


async def test_what_may_be_our_own_is_not_revoked_while_it_may_run(
    state: StateFolder, ours: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    await grants.add(state, "shop", SHOP)
    ours("shop")
    monkeypatch.setattr(grants, "running_broker", lambda _: Deleting(state.broker_folder))

    with pytest.raises(GrantError, match="stop 'postroad up' first"):
        await grants.revoke(state, "shop")

    assert programs.noted_services(state).names == ["shop"]


async def test_a_service_is_revoked_while_the_broker_is_being_started_again(
    state: StateFolder,
) -> None:
    await grants.add(state, "shop", SHOP)
    with state.held("tests"):
        state.write_running(addresses("", PrivateBroker(state.broker_folder)))

        assert not await grants.revoke(state, "shop")

    assert state.revoked() == {"shop"}  # whom the broker then forgets
