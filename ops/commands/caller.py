"""As whom a command calls the services: as one of them, and perhaps for a user."""

from argparse import ArgumentParser

from ops.commands.arguments import read_argument
from ops.commands.errors import CommandError
from ops.services.operator import OPERATOR
from postroad.security.access_tokens import AccessToken, InvalidToken
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations, TokenVerifier
from postroad.settings import MessagingSettings


def add_caller_arguments(parser: ArgumentParser, user_help: str) -> None:
    """Let a command be told as whom it calls; ``user_help`` is of the option that names a user."""
    parser.add_argument(
        "--as",
        dest="service",
        metavar="SERVICE",
        default=OPERATOR,
        help="call as this service (%(default)s, which is made when it is first needed)",
    )
    parser.add_argument("--token-file", metavar="FILE", help=user_help)


def read_user(file: str, settings: MessagingSettings) -> AccessToken:
    """Read a user's token, and look at it as the bridge does before it sends it."""
    text = read_argument(file)
    keys = KeyRing.load(settings.identity_file, settings.trust_file)
    try:
        return TokenVerifier(keys, Revocations()).verify(text.strip())
    except InvalidToken as error:
        raise CommandError(
            f"{file} holds no access token that would be accepted: {error}"
        ) from error
