"""What the auth worker is told by its environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.messaging.rotation import OVERLAP_S
from shared.settings import MessagingSettings

_DAY_S = 86_400


class AuthSettings(BaseSettings):
    """Users, passwords, tokens and events.  Environment prefix ``AUTH_``.

    ``database_url``: an SQLAlchemy URL, ``sqlite:////var/lib/postroad/auth.db`` or
    ``postgresql://user:password@host/name``. ``database_password_file``: where the password is
    if it is not in the URL.

    ``token_lifetime_s``, ``refresh_token_lifetime_s``: how long an access token is good, which is
    no longer than a key is accepted after it was replaced, and a refresh token that is not used.

    ``argon2_time_cost`` (passes), ``argon2_memory_kib``, ``argon2_parallelism`` (lanes): what a
    password check costs. The defaults are the second recommended option of RFC 9106 section 4.

    ``attempts_per_user``, ``attempts_per_address``: how many sign-ins may fail in any
    ``attempts_window_s`` before further ones are refused. IPv6 addresses count by their /64.

    ``outbox_poll_s``: how often to look for events that another process has left;
    ``outbox_batch``: how many events to take at a time; ``outbox_lease_s``: after how long
    another replica sends what a dead one had taken.

    ``clean_interval_s``: how often to delete what has expired.
    """

    model_config = SettingsConfigDict(env_prefix="AUTH_", frozen=True)

    database_url: SecretStr  # it may hold a password
    database_password_file: Path | None = None
    token_lifetime_s: int = Field(default=900, ge=1, le=int(OVERLAP_S))
    refresh_token_lifetime_s: int = Field(default=30 * _DAY_S, ge=1, le=400 * _DAY_S)
    argon2_time_cost: int = Field(default=3, ge=1)
    argon2_memory_kib: int = Field(default=65_536, ge=8)
    argon2_parallelism: int = Field(default=4, ge=1)
    attempts_per_user: int = Field(default=5, ge=1, le=1000)
    attempts_per_address: int = Field(default=50, ge=1, le=10_000)
    attempts_window_s: int = Field(default=900, ge=1, le=_DAY_S)
    outbox_poll_s: float = Field(default=1.0, gt=0, le=60)
    outbox_batch: int = Field(default=100, ge=1, le=1000)
    outbox_lease_s: float = Field(default=30.0, ge=1, le=3600)
    clean_interval_s: float = Field(default=600.0, ge=1)


class AuthMessagingSettings(MessagingSettings):
    """Each sign-in under way takes the memory of one Argon2 hash, so few run at a time."""

    prefetch: int = Field(default=4, ge=1, le=100)
