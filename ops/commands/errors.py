"""How a command fails that cannot do what was asked: with a sentence and an exit status."""

import sys


class CommandError(Exception):
    """A command cannot do what was asked; the message says why and, if known, what to do."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


# What the rooms and the library raise where a person, a file or the system is at fault, not we.
_EXPECTED = (
    "auth_worker.passwords.BadPassword",
    "auth_worker.roles.UnknownRole",
    "auth_worker.user_import.BadUserFile",
    "auth_worker.usernames.BadUsername",
    "auth_worker.users.NoSuchUser",
    "auth_worker.users.UserExists",
    "builtins.EOFError",
    "builtins.OSError",
    "ops.commands.errors.CommandError",
    "ops.dead_letters.handler_search.NoTestPossible",
    "ops.dead_letters.readers.UnknownReader",
    "ops.health.selfcheck.SelfCheckError",
    "ops.local.broker.BrokerError",
    "ops.local.ports.PortUnavailable",
    "ops.services.grants.GrantError",
    "ops.services.operator.CannotAct",
    "ops.state.folder.StateError",
    "postroad.broker.moving.looking.NotLetIn",
    "postroad.broker.queue_browser.CannotHold",
    "postroad.contracts.errors.ServiceError",
    "postroad.dead_letters.captured.CannotRead",
    "postroad.dead_letters.redriver.NotMoved",
    "postroad.security.keys.KeyFileError",
    "postroad.storage.database.InvalidDatabaseUrl",
    "postroad.storage.tables.SchemaError",
    "postroad.topology.services.ServicesFileError",
)
_SENTENCES = {  # of those whose message needs more words
    "builtins.EOFError": "nobody answers; nothing was changed",
    "postroad.contracts.errors.ServiceError": "{0.code}: {0}",
    "postroad.security.keys.KeyFileError": "{0}; has 'postroad up' run here?",
}


def expected() -> tuple[type[Exception], ...]:
    """Return the errors above; what is not imported cannot have been raised, and stays so."""
    names = (name.rpartition(".") for name in _EXPECTED)
    return tuple(
        getattr(sys.modules[module], name) for module, _, name in names if module in sys.modules
    )


def sentence(error: Exception) -> str:
    """Return what is printed of an error; what strangers wrote in it is harmless there."""
    from postroad.plain_text import plain_lines  # noqa: PLC0415  # --help is quick without

    kinds = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    template = next((_SENTENCES[kind] for kind in kinds if kind in _SENTENCES), "{0}")
    text = template.format(error)
    if isinstance(error, OSError) and error.strerror:  # without its number
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return plain_lines(text.rstrip("\n"))


def exit_status(error: Exception) -> int:
    """Return the status that a command ends with."""
    return error.exit_status if isinstance(error, CommandError) else 1
