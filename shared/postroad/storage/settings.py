"""Settings of a service's database, the same for each service that has one."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from postroad.limits import LONGEST_WAIT_S


class DatabaseSettings(BaseSettings):
    """Where a service keeps things; a subclass names the prefix of the environment variables.

    ``database_url``: an SQLAlchemy URL, ``sqlite:////var/lib/postroad/auth.db`` or
    ``postgresql://user:password@host/name``. ``database_password_file``: where the password is
    if it is not in the URL.

    ``outbox_poll_s``: how often to look for messages that another process has left;
    ``outbox_batch``: how many messages to take at a time; ``outbox_lease_s``: after how long
    another replica sends what a dead one had taken.

    ``clean_interval_s``: how often to delete what has expired.
    """

    database_url: SecretStr  # it may hold a password
    database_password_file: Path | None = None
    outbox_poll_s: float = Field(default=1.0, gt=0, le=60)
    outbox_batch: int = Field(default=100, ge=1, le=1000)
    outbox_lease_s: float = Field(default=30.0, ge=1, le=3600)
    clean_interval_s: float = Field(default=600.0, ge=1, le=LONGEST_WAIT_S)

    @classmethod
    def url_variable(cls) -> str:
        """Name the environment variable of the database's URL."""
        return f"{cls.model_config.get('env_prefix', '')}database_url".upper()
