"""Users: added, found, disabled, taken over from a file."""

import json
from pathlib import Path

import pytest

from auth_worker.roles import UnknownRole
from auth_worker.tables import sessions, users
from auth_worker.user_import import BadUserFile, import_users, read_users
from auth_worker.usernames import BadUsername
from auth_worker.users import NoSuchUser, UserExists
from postroad.contracts.errors import InvalidCredentials, InvalidRefreshToken
from postroad.contracts.events import SessionRevoked
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from tests.support.auth import PASSWORD, AuthUnderTest, at_once, kinds, rows


def test_a_user_is_found_as_added(auth: AuthUnderTest) -> None:
    auth.add_user("reader", roles=("admin", "user"))

    user = auth.service.users.find("reader")

    assert user is not None
    assert (user.username, user.roles, user.is_disabled) == ("reader", ("user", "admin"), False)


def test_a_name_typed_as_letters_and_accents_finds_the_composed_one(auth: AuthUnderTest) -> None:
    auth.add_user("Zo\u00eb")

    assert auth.service.users.find("Zoe\u0308") is not None


def test_of_two_who_take_a_name_at_once_one_gets_it(auth: AuthUnderTest) -> None:
    outcomes = at_once(4, lambda _: auth.service.users.add("reader", "hash"))

    assert kinds(outcomes) == {"NoneType": 1, "UserExists": 3}
    assert len(auth.service.users.all()) == 1


@pytest.mark.parametrize("name", ["", " ", "a ", "a\0b", "a\nb", "a\u202eb", "x" * 201])
def test_names_that_cannot_be_seen_are_refused_and_not_found(
    auth: AuthUnderTest, name: str
) -> None:
    with pytest.raises(BadUsername):
        auth.service.users.add(name, "hash")

    assert auth.service.users.find(name) is None


def test_a_role_that_is_none_is_refused(auth: AuthUnderTest) -> None:
    with pytest.raises(UnknownRole, match="no role 'root'"):
        auth.service.users.add("reader", "hash", roles=("root",))

    assert rows(auth.database, users) == []


def test_a_user_made_for_development_is_not_known_outside_it(
    database: Database, keys: dict[str, KeyRing]
) -> None:
    development = AuthUnderTest(database, keys, is_development=True)
    user_id = development.add_user("admin", for_development=True)
    token = development.refresh_token(development.sign_in("admin"))
    production = AuthUnderTest(database, keys)

    assert production.service.users.find("admin") is None
    assert production.service.users.get(user_id) is None
    assert production.service.users.all() == []
    with pytest.raises(InvalidCredentials):
        production.sign_in("admin")
    with pytest.raises(InvalidRefreshToken):
        production.refresh(token)


def test_disabling_a_user_ends_their_sessions_and_tells_it(auth: AuthUnderTest) -> None:
    reader = auth.add_user("reader")
    auth.add_user("writer")
    first, second, other = (auth.sign_in(name) for name in ("reader", "reader", "writer"))

    ended = auth.service.users.set_disabled("reader", is_disabled=True)

    told = [event for event in auth.events() if isinstance(event, SessionRevoked)]
    assert ended == 2
    assert {event.session_id for event in told} == {
        auth.access_token(session).session_id for session in (first, second)
    }
    assert {event.user_id for event in told} == {reader}
    assert {event.until for event in told} >= {auth.access_token(first).expires_at}
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(first))
    auth.refresh(auth.refresh_token(other))


def test_a_disabled_user_does_not_sign_in_until_enabled(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    auth.service.users.set_disabled("reader", is_disabled=True)

    with pytest.raises(InvalidCredentials):
        auth.sign_in("reader")
    auth.service.users.set_disabled("reader", is_disabled=False)

    assert auth.sign_in("reader").access_token


def test_a_new_password_replaces_the_old_one_and_ends_the_sessions(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    session = auth.sign_in("reader")

    ended = auth.service.users.set_password("reader", auth.service.passwords.hash("another"))

    assert ended == 1
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(session))
    with pytest.raises(InvalidCredentials):
        auth.sign_in("reader", PASSWORD)
    assert auth.sign_in("reader", "another").access_token


def test_disabling_nobody_is_an_error(auth: AuthUnderTest) -> None:
    with pytest.raises(NoSuchUser, match="no user nobody"):
        auth.service.users.set_disabled("nobody", is_disabled=True)


def test_users_who_sign_in_while_being_disabled_end_up_without_a_session(
    auth: AuthUnderTest,
) -> None:
    auth.add_user("reader")

    def one(number: int) -> object:
        if number == 0:
            return auth.service.users.set_disabled("reader", is_disabled=True)
        return auth.sign_in("reader")

    at_once(5, one)

    assert [row for row in rows(auth.database, sessions) if row.ended_at is None] == []


@pytest.mark.parametrize("wrap", [lambda users: users, lambda users: {"users": users}])
def test_the_tutorials_users_can_sign_in_after_an_import(
    auth: AuthUnderTest, tmp_path: Path, wrap: object
) -> None:
    file = tmp_path / "users.json"
    listed = [
        {"id": 7, "username": "ann", "password": "plain1", "email": "ignored"},
        {"id": 9, "username": "ben", "password": "plain2", "roles": ["operator"]},
    ]
    file.write_text(json.dumps(wrap(listed)))  # type: ignore[operator]

    done = import_users(auth.database, read_users(file), hash_password=auth.service.passwords.hash)

    assert done.added == ["ann", "ben"]
    assert auth.sign_in("ann", "plain1").user_id == 7
    assert auth.access_token(auth.sign_in("ben", "plain2")).scopes == {
        "catalog:read",
        "catalog:sync",
        "operations:read",
    }
    assert auth.add_user("next") == 10


def test_an_import_leaves_those_alone_who_are_there(auth: AuthUnderTest, tmp_path: Path) -> None:
    taken = auth.add_user("ann")
    file = tmp_path / "users.json"
    file.write_text(
        json.dumps(
            [
                {"id": 5, "username": "ann", "password": "other"},
                {"id": taken, "username": "ben", "password": "plain"},
                {"username": "cat", "password": "plain"},
            ]
        )
    )

    done = import_users(auth.database, read_users(file), hash_password=auth.service.passwords.hash)

    assert (done.added, done.known, done.renumbered) == (["ben", "cat"], ["ann"], ["ben"])
    assert auth.sign_in("ann", PASSWORD).user_id == taken
    assert auth.sign_in("ben", "plain").user_id != taken


@pytest.mark.parametrize(
    "content",
    [
        "",
        "nonsense",
        '{"people": []}',
        '[{"username": "ann"}]',
        '[{"username": "ann", "password": ""}]',
        '[{"username": "a\\u0000", "password": "hush-hush"}]',
        '[{"username": "ann", "password": "hush-hush\\t"}]',
        '[{"username": "ann", "password": "hush-hush", "roles": ["root"]}]',
        '[{"username": "ann", "password": "hush-hush"}, {"username": "ann", "password": "b"}]',
    ],
)
def test_a_file_with_a_mistake_adds_nobody_and_quotes_no_password(
    auth: AuthUnderTest, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "users.json"
    file.write_text(content)

    with pytest.raises(BadUserFile) as refusal:
        import_users(auth.database, read_users(file), hash_password=auth.service.passwords.hash)

    assert "hush-hush" not in str(refusal.value)
    assert rows(auth.database, users) == []


def test_a_user_exists_error_names_the_user(auth: AuthUnderTest) -> None:
    auth.add_user("reader")

    with pytest.raises(UserExists, match="reader"):
        auth.add_user("reader")
