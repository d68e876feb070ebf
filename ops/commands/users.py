"""`postroad users`: who may sign in, and who did."""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from getpass import getpass
from pathlib import Path

from pydantic import SecretStr, ValidationError

from auth_worker.audit.trail import AuditTrail, Entry
from auth_worker.password_policy import hash_new
from auth_worker.passwords import Passwords
from auth_worker.roles import DEFAULT_ROLE, ROLES
from auth_worker.settings import AuthSettings
from auth_worker.tables import SCHEMA, outbox
from auth_worker.user_import import PASSWORD_MAX, import_users, read_users
from auth_worker.users import NoSuchUser, UserExists, UserStore
from ops.commands.arguments import add_state_argument
from ops.commands.errors import CommandError
from ops.services.programs import sign_in_environment
from ops.state.folder import StateFolder
from ops.terminal.logs import hide_logs
from ops.terminal.text import show
from postroad.contracts.errors import OutcomeUnknown, Unavailable, explain
from postroad.contracts.events import LoginFailed, LoginSucceeded, SessionRevoked
from postroad.settings import EnvironmentSettings, read_settings
from postroad.storage.database import Database, database_url
from postroad.storage.opening import require_schema
from postroad.storage.outbox import Outbox

EXAMPLES = """\
examples:
  postroad users add reader                         asks for the password, twice
  postroad users add writer --role operator         who may also renew the catalogue
  echo "$PASSWORD" | postroad users set-password writer --password-stdin
  postroad users import users.json                  [{"id": 1, "username": ..., "password": ...}]
  postroad users disable writer                     and end the sessions
  postroad users history writer                     who signed in, from where, and what failed
  postroad users list --database postgresql://postroad@db/auth

The database is that of --database, else of the system that runs on the state folder, else of
AUTH_DATABASE_URL, else the one that `postroad up` keeps in the folder.
"""

_MOST = 2**31 - 1  # rows, as a database counts them
_WHAT = {
    LoginSucceeded.name: "signed in",
    LoginFailed.name: "failed to sign in",
    SessionRevoked.name: "session ended",
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(when_interrupted="nothing was changed")
    parser.epilog = EXAMPLES
    commands = parser.add_subparsers(metavar="ACTION", required=True)

    def command(name: str, what: str, act: Callable[[Namespace], None]) -> ArgumentParser:
        added = commands.add_parser(name, help=what, description=f"{what.capitalize()}.")
        added.add_argument("--database", metavar="URL", help="sqlite:///FILE or postgresql://...")
        add_state_argument(added)
        added.set_defaults(act=act)
        return added

    add = command("add", "add a user", _add)
    command("list", "list users, their roles and whether they are disabled", _list)
    disable = command("disable", "keep a user out, and end their sessions", _disable)
    enable = command("enable", "let a disabled user in again", _enable)
    password = command(
        "set-password", "give a user another password, and end their sessions", _set_password
    )
    file = command("import", "add the users of a JSON file who are not there yet", _import)
    history = command("history", "show who signed in of late, and what failed", _history)
    for with_name in (add, disable, enable, password):
        with_name.add_argument("username")
    for with_password in (add, password):
        with_password.add_argument(
            "--password-stdin", action="store_true", help="read it from a line of standard input"
        )
    add.add_argument(
        "--role",
        action="append",
        choices=ROLES,
        help=f"what they may do (default: {DEFAULT_ROLE}); may be given more than once",
    )
    file.add_argument("file", type=Path, metavar="FILE")
    history.add_argument("username", nargs="?", help="of this user alone")
    history.add_argument(
        "--limit", type=int, default=50, metavar="N", help="how many (%(default)s)"
    )


def run(options: Namespace) -> int:
    """Do what the arguments ask for; give the exit status."""
    hide_logs()
    options.act(options)
    return 0


def _add(options: Namespace) -> None:
    with _opened(options) as (settings, _, users):
        if users.find(options.username) is not None:
            raise UserExists(f"there is a user {options.username}")
        password_hash = hash_new(Passwords(settings), _read_password(options))
        roles = tuple(options.role or (DEFAULT_ROLE,))
        try:
            users.add(options.username, password_hash, roles=roles)
        except UserExists as error:  # and is not found: made for development, or just now
            raise UserExists(
                f"{error} who is not listed: made for development, or by somebody else just now"
            ) from error
    print(f"added {options.username}")


def _list(options: Namespace) -> None:
    with _opened(options) as (_, _, users):
        found = users.all()
    if not found:
        print("nobody may sign in yet; add somebody with 'postroad users add NAME'")
    width = max((len(user.username) for user in found), default=0)
    for user in found:
        marks = [" (disabled)"] * user.is_disabled + [" (development only)"] * user.for_development
        show([f"{user.id:>6}  {user.username:<{width}}  {' '.join(user.roles)}{''.join(marks)}"])


def _disable(options: Namespace) -> None:
    with _opened(options) as (_, _, users):
        ended = users.set_disabled(options.username, is_disabled=True)
    print(f"disabled {options.username}, and ended {_sessions(ended)}")


def _enable(options: Namespace) -> None:
    with _opened(options) as (_, _, users):
        users.set_disabled(options.username, is_disabled=False)
    print(f"enabled {options.username}")


def _set_password(options: Namespace) -> None:
    with _opened(options) as (settings, _, users):
        if users.find(options.username) is None:
            raise NoSuchUser(f"no user {options.username}")
        password_hash = hash_new(Passwords(settings), _read_password(options))
        ended = users.set_password(options.username, password_hash)
    print(f"set the password of {options.username}, and ended {_sessions(ended)}")


def _import(options: Namespace) -> None:
    found = read_users(options.file)
    with _opened(options) as (settings, database, _):
        done = import_users(database, found, hash_password=partial(hash_new, Passwords(settings)))
    print(f"added {len(done.added)} of {len(found)} users")
    for what, names in (("already there", done.known), ("with a new id", done.renumbered)):
        if names:
            show([f"{what}: {', '.join(names)}"])
    print(f"their passwords are still readable in {options.file}: delete it")


def _history(options: Namespace) -> None:
    with _opened(options) as (_, database, users):
        user = users.find(options.username) if options.username else None
        if options.username and user is None:
            raise NoSuchUser(f"no user {options.username}")
        trail = AuditTrail(database)
        found = trail.newest(min(max(1, options.limit), _MOST), user_id=user.id if user else None)
    if not found:
        whose = f" of {options.username}" if user else ""
        print(
            f"nothing has been noted{whose} so far; auth_audit notes it, a moment after it happens "
            "('python -m auth_worker.audit', where 'postroad up' does not run it)"
        )
    width = max((len(username or "-") for _, username in found), default=0)
    for entry, username in found:
        at = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        show([f"{at}  {username or '-':<{width}}  {_told(entry)}"])


def _told(entry: Entry) -> str:
    what = _WHAT.get(entry.what, entry.what)
    if entry.reason:
        what = f"{what} ({entry.reason.replace('_', ' ')})"
    return f"{what} from {entry.client_network}" if entry.client_network else what


@contextmanager
def _opened(options: Namespace) -> Iterator[tuple[AuthSettings, Database, UserStore]]:
    """Open the database that the options name, and see whom its worker sees."""
    url, is_development = _place(options)
    try:
        settings = AuthSettings(database_url=SecretStr(url))
    except ValidationError as error:
        raise CommandError(f"settings AUTH_...: {explain(error)}") from None
    database = Database(url if options.database else database_url(settings))
    try:
        require_schema(database, SCHEMA)
        yield settings, database, UserStore(database, Outbox(outbox), is_development=is_development)
    except (Unavailable, OutcomeUnknown) as error:
        reason = getattr(error.__cause__, "orig", None) or error.__cause__
        raise CommandError(f"{error}: {' '.join(str(reason).split())}") from error
    finally:
        database.close()


def _place(options: Namespace) -> tuple[str, bool]:
    """Return the database's URL, and whether what signs users in by it is in development."""
    state = StateFolder(options.state)
    kept = sign_in_environment(state)
    there, elsewhere = kept["AUTH_DATABASE_URL"], os.environ.get("AUTH_DATABASE_URL")
    is_there = state.users_file.exists()
    if options.database:
        url = options.database
    elif is_there and state.holder():  # before what may have stayed in our environment
        url = there
    else:
        url = elsewhere or there
    if Path(url.removeprefix("sqlite:///")).resolve() != state.users_file:
        return url, read_settings(EnvironmentSettings).is_development
    if not is_there:
        raise CommandError(
            f"no database {state.users_file}: run 'postroad up' first, or name one by --database"
        )
    return url, kept["POSTROAD_ENV"] == "development"


def _read_password(options: Namespace) -> str:
    if options.password_stdin:
        try:
            password = sys.stdin.readline(PASSWORD_MAX + 3).rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise CommandError(
                f"the password is not text in {error.encoding}; nothing was changed"
            ) from error
    elif sys.stdin.isatty():
        password = getpass(f"Password of {options.username}: ")
        if getpass("Once more: ") != password:
            raise CommandError("the two passwords differ; nothing was changed")
    else:
        raise CommandError("no terminal to ask for the password: give it by --password-stdin")
    if not 1 <= len(password) <= PASSWORD_MAX:
        raise CommandError(f"a password has 1 to {PASSWORD_MAX} characters; nothing was changed")
    return password


def _sessions(number: int) -> str:
    return f"{number or 'no'} session{'' if number == 1 else 's'}"
