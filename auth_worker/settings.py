"""What the auth worker is told by its environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from postroad.security.rotation import OVERLAP_S
from postroad.settings import MessagingSettings
from postroad.storage.settings import DatabaseSettings

_DAY_S = 86_400


class AuthSettings(DatabaseSettings):
    """Users, passwords and tokens.  Environment prefix ``AUTH_``.

    ``token_lifetime_s``, ``refresh_token_lifetime_s``: how long an access token is good, which is
    no longer than a key is accepted after it was replaced, and a refresh token that is not used.
    ``session_lifetime_s``: when a session ends, however often its tokens are refreshed.

    ``argon2_time_cost`` (passes), ``argon2_memory_kib``, ``argon2_parallelism`` (lanes): what a
    password check costs. The defaults are the second recommended option of RFC 9106 section 4.

    ``attempts_per_user``, ``attempts_per_address``: how many sign-ins may fail in any
    ``attempts_window_s``, in a user's name from one address, and from one address in whatever
    names, before further ones are refused. IPv6 addresses count by their /64. From all addresses
    together ten times as many may fail in a user's name.

    ``audit_days``: how long it is kept who signed in, and when.
    """

    model_config = SettingsConfigDict(env_prefix="AUTH_", frozen=True)

    token_lifetime_s: int = Field(default=900, ge=1, le=int(OVERLAP_S))
    refresh_token_lifetime_s: int = Field(default=30 * _DAY_S, ge=1, le=400 * _DAY_S)
    session_lifetime_s: int = Field(default=90 * _DAY_S, ge=1, le=400 * _DAY_S)
    argon2_time_cost: int = Field(default=3, ge=1)
    argon2_memory_kib: int = Field(default=65_536, ge=8)
    argon2_parallelism: int = Field(default=4, ge=1)
    attempts_per_user: int = Field(default=5, ge=1, le=1000)
    attempts_per_address: int = Field(default=50, ge=1, le=10_000)
    attempts_window_s: int = Field(default=900, ge=1, le=_DAY_S)
    audit_days: int = Field(default=365, ge=1, le=36_500)


class AuthMessagingSettings(MessagingSettings):
    """Each sign-in under way takes the memory of one Argon2 hash, so few run at a time."""

    prefetch: int = Field(default=4, ge=1, le=100)


class AuditMessagingSettings(MessagingSettings):
    """Each message is one short transaction, in a thread and on a connection of its own."""

    prefetch: int = Field(default=32, ge=1, le=100)
