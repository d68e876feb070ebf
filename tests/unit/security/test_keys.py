import json
import stat
from pathlib import Path

import pytest

from postroad.security.keyring import KeyRing
from postroad.security.keys import (
    PURPOSES,
    Identity,
    KeyFileError,
    PrivateKey,
    TrustBundle,
    TrustedService,
    UnknownKey,
    unpadded_b64decode,
    unpadded_b64encode,
)

Keys = dict[str, KeyRing]


def test_two_services_derive_the_same_key(keys: Keys) -> None:
    kid, sending = keys["bridge"].sending_key("catalog")

    assert keys["catalog"].receiving_key("bridge", kid) == sending


def test_each_direction_and_each_pair_has_a_key_of_its_own(keys: Keys) -> None:
    pairs = [("bridge", "catalog"), ("catalog", "bridge"), ("bridge", "auth"), ("auth", "catalog")]

    derived = {keys[sender].sending_key(receiver)[1] for sender, receiver in pairs}

    assert len(derived) == len(pairs)
    assert {len(key) for key in derived} == {32}


def test_there_is_no_key_to_an_unknown_service(keys: Keys) -> None:
    with pytest.raises(UnknownKey, match="no service nobody"):
        keys["bridge"].sending_key("nobody")


@pytest.mark.parametrize("kid", ["", ".", "x.y", "a.b.c"])
def test_an_unknown_key_id_gives_no_key(keys: Keys, kid: str) -> None:
    with pytest.raises(UnknownKey):
        keys["catalog"].receiving_key("bridge", kid)


def test_a_sealing_key_is_not_for_agreeing(keys: Keys) -> None:
    sender = keys["bridge"].identity.key("sealing")
    receiver = keys["catalog"].identity.key("agreement")

    with pytest.raises(UnknownKey):
        keys["catalog"].receiving_key("bridge", f"{sender.kid}.{receiver.kid}")


def test_an_unknown_services_event_cannot_be_verified(keys: Keys) -> None:
    kid = keys["auth"].identity.key("events").kid

    with pytest.raises(UnknownKey):
        keys["bridge"].peer_key("nobody", kid, "events")


def test_an_identity_has_one_key_for_each_purpose() -> None:
    identity = Identity.create("auth")

    assert [key.purpose for key in identity.keys] == list(PURPOSES)
    assert len({key.x for key in identity.keys}) == len(PURPOSES)
    assert all(key.kid.startswith(f"auth-{key.purpose}-") for key in identity.keys)


def test_the_newest_key_of_a_purpose_is_in_use() -> None:
    old, new = PrivateKey.create("auth", "tokens"), PrivateKey.create("auth", "tokens")

    identity = Identity(service="auth", keys=(new, old))

    assert identity.key("tokens") is new


def test_an_identity_file_gives_the_identity_back_to_its_owner_alone(tmp_path: Path) -> None:
    identity, path = Identity.create("auth"), tmp_path / "auth.json"

    identity.save(path)

    assert Identity.load(path) == identity
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["auth.json"]


def test_an_identity_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    Identity.create("auth").save(path)
    new = Identity.create("auth")

    new.save(path)

    assert Identity.load(path) == new


@pytest.mark.parametrize("load", [Identity.load, TrustBundle.load])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, load: object) -> None:
    assert callable(load)
    missing, broken = tmp_path / "missing.json", tmp_path / "broken.json"
    broken.write_text('{"service": 1}')

    with pytest.raises(KeyFileError, match=r"missing\.json: No such file"):
        load(missing)
    with pytest.raises(KeyFileError, match=r"broken\.json is not"):
        load(broken)


def test_a_broken_identity_file_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text('{"service": "auth", "keys": [{"d": "secret"}]}')

    with pytest.raises(KeyFileError) as failure:
        Identity.load(path)

    assert "secret" not in str(failure.value) + str(failure.value.__cause__)


def test_private_keys_show_in_no_text() -> None:
    key = PrivateKey.create("auth", "tokens")
    secret = key.d.get_secret_value()

    shown = [repr(key), str(key), key.model_dump_json(), repr(key.public()), str(key.public())]

    assert not [text for text in shown if secret in text]


def test_what_is_public_of_an_identity_holds_no_private_key() -> None:
    identity = Identity.create("auth")

    public = json.dumps(identity.public())

    assert '"d"' not in public
    assert all(key.d.get_secret_value() not in public for key in identity.keys)


def test_a_trust_bundle_survives_its_file(tmp_path: Path, trust: TrustBundle) -> None:
    path = tmp_path / "trust.json"
    path.write_text(trust.model_dump_json())

    assert TrustBundle.load(path) == trust


def test_tokens_are_trusted_of_their_issuers_alone(
    identities: dict[str, Identity], trust: TrustBundle
) -> None:
    assert list(trust.token_keys()) == [identities["auth"].key("tokens").kid]


@pytest.mark.parametrize(
    ("rights", "method", "may"),
    [
        (("catalog.*",), "catalog.products.get", True),
        (("catalog.products.get",), "catalog.products.get", True),
        (("catalog.products.*",), "catalog.products.get", True),
        (("catalog.*",), "catalogue.products.get", False),
        (("catalog.*",), "catalog", False),
        (("catalog.products.get",), "catalog.products.get.all", False),
        (("auth.sessions.create", "catalog.*"), "auth.users.delete", False),
        ((), "catalog.products.get", False),
        (("*",), "catalog.products.get", False),
    ],
)
def test_a_right_is_a_whole_name_or_a_prefix(
    rights: tuple[str, ...], method: str, may: bool
) -> None:
    assert TrustedService(keys=(), calls=rights).may_call(method) is may


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc"])
def test_base64url_without_padding_goes_both_ways(data: bytes) -> None:
    text = unpadded_b64encode(data)

    assert "=" not in text
    assert unpadded_b64decode(text) == data


@pytest.mark.parametrize("text", ["a", "ab.c", "ab c", "ä", "ab\n"])
def test_what_is_not_base64url_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of base64 itself, in its own words
        unpadded_b64decode(text)
