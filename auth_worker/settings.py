"""What the auth worker is told by its environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.settings import MessagingSettings


class AuthSettings(BaseSettings):
    """Users, passwords and tokens.  Environment prefix ``AUTH_``.

    ``database_url``: an SQLAlchemy URL, such as ``sqlite:////var/lib/postroad/users.db``.
    The Argon2id defaults are the second recommended option of RFC 9106 section 4.
    """

    model_config = SettingsConfigDict(env_prefix="AUTH_", frozen=True)

    database_url: str
    token_lifetime_s: int = Field(default=900, ge=1, le=86_400)
    argon2_time_cost: int = Field(default=3, ge=1)
    argon2_memory_kib: int = Field(default=65_536, ge=8)
    argon2_parallelism: int = Field(default=4, ge=1)


class AuthMessagingSettings(MessagingSettings):
    """Each sign-in under way takes the memory of one Argon2 hash, so few run at a time."""

    prefetch: int = Field(default=4, ge=1, le=100)
