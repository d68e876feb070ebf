"""New keys for a service, and when they and the old ones are good for what."""

from itertools import product
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.state.folder import StateFolder
from postroad.security.access_tokens import InvalidToken
from postroad.security.claims import Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.keys import PURPOSES, Identity, TrustBundle, UnknownKey, find_key
from postroad.security.lasting_signatures import EVENT_LIFETIME_S, LastingSigner
from postroad.security.rotation import LEAD_S, OVERLAP_S, overlap_s, rotate
from postroad.security.sealing import seal, unseal
from postroad.security.signatures import Signer, Verifier
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.testing.keys import token_text
from tests.support.auth import Clock
from tests.support.rotating import Files, set_clock

SERVICES = ("auth", "bridge", "catalog")
BODY = b"{}"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return set_clock(monkeypatch)


@pytest.fixture
def files(clock: Clock, identities: dict[str, Identity], trust: TrustBundle) -> Files:
    return Files(dict(identities), trust)


def kids(keys: KeyRing) -> dict[str, str]:
    """Give the keys in use, by purpose."""
    return {purpose: keys.identity.key(purpose).kid for purpose in PURPOSES}


def kids_others_use(keys: KeyRing) -> dict[str, str]:
    service = keys.trust.services[keys.service]
    return {purpose: service.key(purpose).kid for purpose in PURPOSES}


def request(sender: KeyRing, audience: str) -> str:
    return Signer(sender).request(
        audience=audience,
        method="catalog.products.get",
        body=BODY,
        message_id="1",
        correlation_id="1",
        reply_to="",
        deadline=0,
    )


def event(sender: KeyRing) -> str:
    return LastingSigner(sender).event(
        name="auth.session.revoked", body=BODY, message_id="1", correlation_id="1"
    )


def assert_taken(receiver: KeyRing, *, signed: str, told: str, text: str, sealed: str) -> None:
    """The catalogue takes a request, an event, a user's token and a sealed secret."""
    verifier = Verifier(receiver)
    assert verifier.verify(signed, BODY, typ="request").iss == "auth"
    assert verifier.verify(told, BODY, typ="event").iss == "auth"
    assert TokenVerifier(receiver, Revocations()).verify(text).text == text
    assert unseal(sealed, context="x", identity=receiver.identity) == "secret"


def test_new_keys_are_known_before_they_are_used(files: Files, clock: Clock) -> None:
    old = kids(files.read("auth"))

    files.rotate("auth")

    keys = files.read("auth")
    known = {key.kid for key in keys.trust.services["auth"].keys}
    new = {key.kid for key in keys.identity.keys} - set(old.values())
    assert len(new) == len(PURPOSES)
    assert known == new | set(old.values())
    assert kids(keys) == kids_others_use(keys) == old
    clock.now += LEAD_S - 0.001
    assert kids(keys) == kids_others_use(keys) == old
    clock.now += 0.001
    assert kids(keys) == kids_others_use(keys)
    assert set(kids(keys).values()) == new


def test_old_keys_are_accepted_for_a_while_and_then_refused(files: Files, clock: Clock) -> None:
    old = kids(files.read("auth"))
    files.rotate("auth")
    published = files.trust.services["auth"].keys

    rotated_at = clock.now

    for purpose in PURPOSES:
        clock.now = rotated_at + LEAD_S + overlap_s(purpose) - 0.001
        assert find_key(published, old[purpose], purpose).kid == old[purpose]

        clock.now += 0.001
        with pytest.raises(UnknownKey, match=f"no {purpose} key"):
            find_key(published, old[purpose], purpose)


def test_keys_of_events_and_jobs_are_accepted_as_long_as_these_wait() -> None:
    assert overlap_s("events") > EVENT_LIFETIME_S
    assert {overlap_s(purpose) for purpose in PURPOSES if purpose != "events"} == {OVERLAP_S}


@pytest.mark.parametrize(("sender_knows", "receiver_knows"), list(product((False, True), repeat=2)))
@pytest.mark.parametrize("after_s", [0, LEAD_S - 0.001])
def test_services_with_new_and_with_old_files_understand_each_other(
    files: Files, clock: Clock, *, sender_knows: bool, receiver_knows: bool, after_s: float
) -> None:
    before = {service: files.read(service) for service in SERVICES}
    for service in SERVICES:
        files.rotate(service)
    sender = files.read("auth") if sender_knows else before["auth"]
    receiver = files.read("catalog") if receiver_knows else before["catalog"]

    clock.now += after_s

    text, signed, told = token_text(sender.identity), request(sender, "catalog"), event(sender)
    sealed = seal("secret", to="catalog", context="x", trust=sender.trust)
    assert_taken(receiver, signed=signed, told=told, text=text, sealed=sealed)


def test_what_was_made_with_old_keys_is_good_once_the_new_ones_are_in_use(
    files: Files, clock: Clock
) -> None:
    sender = files.read("auth")
    signed, told, text = request(sender, "catalog"), event(sender), token_text(sender.identity)
    sealed = seal("secret", to="catalog", context="x", trust=sender.trust)

    for service in SERVICES:
        files.rotate(service)
    clock.now += LEAD_S + OVERLAP_S - 1

    receiver = files.read("catalog")
    assert_taken(receiver, signed=signed, told=told, text=text, sealed=sealed)


def test_what_was_made_with_retired_keys_is_refused(files: Files, clock: Clock) -> None:
    sender = files.read("auth")
    signed, told, text = request(sender, "catalog"), event(sender), token_text(sender.identity)

    files.rotate("auth")
    rotated_at = clock.now
    receiver = files.read("catalog")

    verifier = Verifier(receiver)
    lasts_s = {"request": OVERLAP_S, "event": overlap_s("events")}
    for signature, typ in ((signed, "request"), (told, "event")):
        clock.now = rotated_at + LEAD_S + lasts_s[typ]
        with pytest.raises(Refused) as refusal:
            verifier.verify(signature, BODY, typ=typ)
        assert refusal.value.reason is Reason.UNKNOWN_KEY
    with pytest.raises(InvalidToken, match="not one of ours"):
        TokenVerifier(receiver, Revocations()).verify(text)


def test_a_service_can_have_new_keys_again_before_the_first_are_in_use(
    files: Files, clock: Clock
) -> None:
    oldest = kids(files.read("auth"))
    files.rotate("auth")
    first = {key.kid for key in files.identities["auth"].keys} - set(oldest.values())
    clock.now += 1

    files.rotate("auth")

    keys = files.read("auth")
    assert kids(keys) == oldest
    clock.now += LEAD_S - 1
    assert set(kids(keys).values()) == first
    clock.now += 1
    newest = kids(keys)
    assert set(newest.values()).isdisjoint(first | set(oldest.values()))
    # the oldest retire when they were to, the ones between a second later
    clock.now += OVERLAP_S - 1
    accepted = short_lived(keys.identity, clock.now)
    assert accepted == {kid for kid in first | set(newest.values()) if "-events-" not in kid}
    clock.now += 1
    accepted = short_lived(keys.identity, clock.now)
    assert accepted == {kid for kid in newest.values() if "-events-" not in kid}


def short_lived(identity: Identity, now: float) -> set[str]:
    """Give the keys that are accepted, but for those of events, which are for very long."""
    return {key.kid for key in identity.keys if key.is_accepted(now) and key.purpose != "events"}


def test_retired_keys_are_dropped_at_the_next_rotation(files: Files, clock: Clock) -> None:
    for _ in range(5):
        files.rotate("auth")
        clock.now += LEAD_S + overlap_s("events")

    assert len(files.identities["auth"].keys) == 2 * len(PURPOSES)
    assert len(files.trust.services["auth"].keys) == 2 * len(PURPOSES)
    clock.now -= 1
    files.rotate("auth")
    assert len(files.identities["auth"].keys) == 2 * len(PURPOSES) + 1  # one of events


def test_a_rotation_changes_nothing_of_rights_or_of_other_services(files: Files) -> None:
    before = files.trust

    files.rotate("auth")

    rights = {"calls", "publishes", "acts_for_users", "issues_tokens"}
    after = files.trust
    assert after.services["auth"].model_dump(include=rights) == before.services["auth"].model_dump(
        include=rights
    )
    assert {name: after.services[name] for name in ("bridge", "catalog")} == {
        name: before.services[name] for name in ("bridge", "catalog")
    }


def test_no_private_key_gets_into_the_trust_bundle(files: Files) -> None:
    files.rotate("auth")

    published = files.trust.model_dump_json()
    assert '"d"' not in published
    assert not [
        key for key in files.identities["auth"].keys if key.d.get_secret_value() in published
    ]


# `postroad keys`


@pytest.fixture
def state(tmp_path: Path, identities: dict[str, Identity], trust: TrustBundle) -> StateFolder:
    state = StateFolder(tmp_path)
    state.trust_file.parent.mkdir(parents=True)
    for name, identity in identities.items():
        state.identity_file(name).parent.mkdir(parents=True)
        identity.save(state.identity_file(name))
    state.write_trust(trust.model_dump())
    return state


def run_keys(state: StateFolder, *arguments: str) -> int:
    return run_command(["keys", *arguments, "--state", str(state.folder)])


def key_count(state: StateFolder, service: str) -> tuple[int, int]:
    keys = KeyRing.load(state.identity_file(service), state.trust_file)
    return len(keys.identity.keys), len(keys.trust.services[service].keys)


def test_the_command_gives_all_services_new_keys_or_only_one(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_keys(state, "rotate", "auth") == 0
    assert {name: key_count(state, name) for name in SERVICES} == {
        "auth": (8, 8),
        "bridge": (4, 4),
        "catalog": (4, 4),
    }

    assert run_keys(state, "rotate") == 0
    assert {name: key_count(state, name) for name in SERVICES} == {
        "auth": (12, 12),
        "bridge": (8, 8),
        "catalog": (8, 8),
    }
    assert "new keys for auth" in capsys.readouterr().out


def test_the_command_leaves_the_files_as_long_as_they_need_to_spread(
    state: StateFolder, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_keys(state, "rotate", "auth", "--lead", "300") == 0

    keys = Identity.load(state.identity_file("auth")).keys
    assert {key.active_from for key in keys[:4]} == {clock.now + 300}
    assert [key.retires_at for key in keys[4:]] == [
        clock.now + 300 + overlap_s(key.purpose) for key in keys[4:]
    ]
    assert "in use in 300 s" in capsys.readouterr().out


def test_the_command_lists_keys_and_how_they_stand(
    state: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run_keys(state, "rotate", "auth")
    capsys.readouterr()

    assert run_keys(state, "list") == 0

    listed = capsys.readouterr().out
    for key in KeyRing.load(state.identity_file("auth"), state.trust_file).identity.keys:
        assert key.kid in listed
        assert key.d.get_secret_value() not in listed
    assert (listed.count("in use from "), listed.count("accepted until ")) == (4, 4)


def test_the_command_says_what_is_wrong(
    state: StateFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_keys(state, "rotate", "shop") == 1
    assert "no service shop; there are" in capsys.readouterr().err

    assert run_keys(StateFolder(tmp_path / "nowhere"), "list") == 1
    assert "has 'postroad up' run here?" in capsys.readouterr().err
    assert key_count(state, "auth") == (4, 4)


def test_an_identity_rotates_by_itself(clock: Clock) -> None:
    identity = Identity.create("auth")

    rotated = rotate(identity)

    assert rotated.service == "auth"
    assert [key.purpose for key in rotated.keys] == [*PURPOSES, *PURPOSES]
    assert {key.retires_at for key in rotated.keys[:4]} == {None}
    assert all(
        key.retires_at == clock.now + LEAD_S + overlap_s(key.purpose) for key in rotated.keys[4:]
    )
