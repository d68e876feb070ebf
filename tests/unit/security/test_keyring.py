"""Keys that change while a service runs, and what is made of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from postroad.security import keyring
from postroad.security.access_tokens import InvalidToken
from postroad.security.claims import Reason, Refused
from postroad.security.key_watch import watch_key_files
from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, KeyFileError, TrustBundle
from postroad.security.rotation import LEAD_S, OVERLAP_S
from postroad.security.signatures import Signer, Verifier
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.testing import eventually
from postroad.testing.keys import token_text
from tests.support.auth import Clock
from tests.support.letters import claims_of
from tests.support.rotating import Files, set_clock

BODY = b"{}"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return set_clock(monkeypatch)


@pytest.fixture
def files(clock: Clock, identities: dict[str, Identity], trust: TrustBundle) -> Files:
    return Files(dict(identities), trust)


def kid_of(signer: Signer) -> str:
    """Give the id of the key with which a request to the catalogue is signed."""
    return str(claims_of(request(signer))["kid"])


def request(signer: Signer) -> str:
    return signer.request(
        audience="catalog",
        method="catalog.products.get",
        body=BODY,
        message_id="1",
        correlation_id="1",
        reply_to="",
        deadline=0,
    )


def renew(keys: KeyRing, files: Files) -> None:
    keys.renew(files.identities[keys.service], files.trust)


# what is derived from keys, and kept


def test_a_right_is_remembered_until_the_keys_are_renewed(files: Files) -> None:
    keys = files.read("catalog")
    assert keys.may_send("bridge", "request", "catalog.products.list")
    bridge = files.trust.services["bridge"].model_copy(update={"calls": ()})
    files.trust = TrustBundle(services=files.trust.services | {"bridge": bridge})

    renew(keys, files)

    assert ("bridge", "request", "catalog.products.list") not in keys.granted
    assert not keys.may_send("bridge", "request", "catalog.products.list")


def test_what_a_service_may_not_send_is_not_remembered(files: Files) -> None:
    keys = files.read("catalog")

    assert not keys.may_send("bridge", "job", "catalog.products.list")
    assert not keys.may_send("nobody", "request", "catalog.products.list")
    assert not keys.granted


def test_no_more_rights_are_remembered_than_a_bound(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "RIGHTS_REMEMBERED_MAX", 2)
    bridge = files.trust.services["bridge"].model_copy(update={"calls": ("catalog.*",)})
    files.trust = TrustBundle(services=files.trust.services | {"bridge": bridge})
    keys = files.read("catalog")

    for name in ("catalog.a", "catalog.b", "catalog.c"):
        assert keys.may_send("bridge", "request", name)

    assert len(keys.granted) == 2


def test_a_signer_goes_over_to_new_keys(files: Files, clock: Clock) -> None:
    keys = files.read("bridge")
    signer = Signer(keys)
    old = kid_of(signer)
    files.rotate("bridge")
    renew(keys, files)
    assert kid_of(signer) == old

    clock.now += LEAD_S
    renew(keys, files)

    new = kid_of(signer)
    assert new.partition(".")[0] == keys.identity.key("agreement").kid
    assert new != old
    catalog = files.read("catalog")
    assert Verifier(catalog).verify(request(signer), BODY, typ="request").kid == new


def test_a_signer_goes_over_to_its_readers_new_keys(files: Files, clock: Clock) -> None:
    keys = files.read("bridge")
    signer = Signer(keys)
    old = kid_of(signer)
    files.rotate("catalog")
    clock.now += LEAD_S

    renew(keys, files)

    assert kid_of(signer) != old
    assert kid_of(signer).endswith(files.identities["catalog"].key("agreement").kid)


def test_a_reader_refuses_a_retired_key_that_it_has_used(files: Files, clock: Clock) -> None:
    signature = request(Signer(files.read("bridge")))
    keys = files.read("catalog")
    verifier = Verifier(keys)
    assert verifier.verify(signature, BODY, typ="request").iss == "bridge"
    files.rotate("bridge")

    clock.now += LEAD_S + OVERLAP_S
    renew(keys, files)

    with pytest.raises(Refused) as refusal:
        verifier.verify(signature, BODY, typ="request")
    assert refusal.value.reason is Reason.UNKNOWN_KEY


def test_a_token_by_a_key_just_made_known_is_taken(files: Files, clock: Clock) -> None:
    keys = files.read("bridge")
    verifier = TokenVerifier(keys, Revocations())
    files.rotate("auth")
    clock.now += LEAD_S
    text = token_text(files.identities["auth"])
    with pytest.raises(InvalidToken, match="not one of ours"):
        verifier.verify(text)

    renew(keys, files)

    assert verifier.verify(text).text == text


def test_a_token_that_was_remembered_is_refused_once_its_key_has_retired(
    files: Files, clock: Clock
) -> None:
    keys = files.read("bridge")
    verifier = TokenVerifier(keys, Revocations())
    text = token_text(files.identities["auth"])
    assert verifier.verify(text).text == text
    files.rotate("auth")

    clock.now += LEAD_S + OVERLAP_S
    renew(keys, files)

    with pytest.raises(InvalidToken, match="not one of ours"):
        verifier.verify(text)


# watching the files


class Watched:
    """A running service's keys, and the files that they come from."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._files = files
        self._looks = 0
        self.identity_file, self.trust_file = folder / "bridge.json", folder / "trust.json"
        self.write()
        self.keys = KeyRing.load(self.identity_file, self.trust_file)

    def write(self) -> None:
        self._files.identities["bridge"].save(self.identity_file)
        self.trust_file.write_text(self._files.trust.model_dump_json())

    def rotate(self) -> None:
        self._files.rotate("bridge")
        self.write()

    def break_trust(self) -> None:
        self.trust_file.write_text("{")

    async def generation(self, wanted: int) -> None:
        await eventually(lambda: self.keys.generation >= wanted)

    async def several_looks(self) -> None:
        """Let the watcher look at the files a few times more."""
        looks = self._looks
        await eventually(lambda: self._looks > looks + 5)

    async def pause(self) -> None:
        """Come before each look of the watcher, and let others have a turn."""
        self._looks += 1
        await asyncio.sleep(0)


@pytest.fixture
def logged(watched: Watched) -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as logged:
        yield logged


@pytest.fixture
def unwatched(files: Files, tmp_path: Path) -> Watched:
    return Watched(tmp_path, files)


@pytest.fixture
async def watched(unwatched: Watched) -> AsyncIterator[Watched]:
    async with watching(unwatched):
        await unwatched.generation(1)  # it has looked at the files once
        yield unwatched


@asynccontextmanager
async def watching(watched: Watched) -> AsyncIterator[None]:
    task = asyncio.create_task(
        watch_key_files(
            watched.keys, watched.identity_file, watched.trust_file, pause=watched.pause
        )
    )
    yield
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_keys_are_renewed_when_their_files_change(watched: Watched) -> None:
    old = watched.keys.identity
    watched.rotate()

    await eventually(lambda: len(watched.keys.trust.services["bridge"].keys) == 8)

    assert len(watched.keys.identity.keys) == 8
    assert watched.keys.identity.key("agreement").kid == old.key("agreement").kid


async def test_keys_are_renewed_when_they_come_into_use_and_when_they_retire(
    watched: Watched, clock: Clock
) -> None:
    signer = Signer(watched.keys)
    old = kid_of(signer)
    watched.rotate()
    await eventually(lambda: len(watched.keys.trust.services["bridge"].keys) == 8)
    generation = watched.keys.generation

    clock.now += LEAD_S
    await watched.generation(generation + 1)
    new = kid_of(signer)
    clock.now += OVERLAP_S
    await watched.generation(generation + 2)

    assert new != old
    assert kid_of(signer) == new


async def test_keys_that_do_not_change_are_left_alone(watched: Watched, clock: Clock) -> None:
    clock.now += LEAD_S
    await watched.several_looks()

    assert watched.keys.generation == 1


async def test_keys_that_changed_before_they_were_watched_are_renewed(unwatched: Watched) -> None:
    unwatched.rotate()

    async with watching(unwatched):
        await eventually(lambda: len(unwatched.keys.trust.services["bridge"].keys) == 8)


async def test_a_broken_file_leaves_the_keys_as_they_are_and_is_logged_once(
    watched: Watched, logged: list[MutableMapping[str, Any]]
) -> None:
    identity, trust = watched.keys.identity, watched.keys.trust

    watched.break_trust()
    await eventually(lambda: logged)
    await watched.several_looks()

    assert [(line["log_level"], line["event"]) for line in logged] == [
        ("error", "keys not renewed")
    ]
    assert "trust.json is not a trust bundle" in logged[0]["reason"]
    assert (watched.keys.identity, watched.keys.trust) == (identity, trust)


async def test_a_file_that_is_gone_leaves_the_keys_as_they_are(
    watched: Watched, logged: list[MutableMapping[str, Any]]
) -> None:
    identity = watched.keys.identity

    watched.identity_file.unlink()
    await eventually(lambda: logged)

    assert "cannot read the identity" in logged[0]["reason"]
    assert watched.keys.identity == identity


async def test_a_broken_file_that_is_mended_is_read(
    watched: Watched, logged: list[MutableMapping[str, Any]]
) -> None:
    watched.break_trust()
    await eventually(lambda: logged)

    watched.rotate()

    await eventually(lambda: len(watched.keys.trust.services["bridge"].keys) == 8)


async def test_new_keys_come_into_use_though_the_file_is_broken_by_then(
    watched: Watched, clock: Clock, logged: list[MutableMapping[str, Any]]
) -> None:
    signer = Signer(watched.keys)
    old = kid_of(signer)
    watched.rotate()
    await eventually(lambda: len(watched.keys.trust.services["bridge"].keys) == 8)
    watched.break_trust()
    await eventually(lambda: [line for line in logged if line["event"] == "keys not renewed"])
    assert kid_of(signer) == old

    clock.now += LEAD_S

    await eventually(lambda: kid_of(signer) != old)


def test_keys_are_not_loaded_from_a_broken_file(tmp_path: Path, files: Files) -> None:
    watched = Watched(tmp_path, files)
    watched.break_trust()

    with pytest.raises(KeyFileError, match=r"trust\.json is not a trust bundle"):
        KeyRing.load(watched.identity_file, watched.trust_file)
