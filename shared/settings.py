"""Settings that every service shares, read once from the environment."""

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


class LogSettings(BaseSettings):
    """How to log.  Environment prefix ``LOG_``.

    ``format``: ``console`` for people, ``json`` for machines; by default the first in a terminal.
    """

    model_config = SettingsConfigDict(env_prefix="LOG_", frozen=True)

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = Field(
        default_factory=lambda: "console" if sys.stdout.isatty() else "json"
    )


class MessagingSettings(BaseSettings):
    """How to reach the broker, and with which keys.

    ``broker_urls``: one or more ``amqp://host:port/vhost``, separated by commas, without
    credentials: the user name is the service's own, the password is in ``broker_password_file``.
    """

    model_config = SettingsConfigDict(frozen=True)

    broker_urls: Annotated[tuple[str, ...], NoDecode, Field(min_length=1)]
    broker_password_file: Path
    identity_file: Path
    trust_file: Path
    broker_heartbeat_s: int = Field(default=10, ge=2, le=300)
    broker_blocked_timeout_s: float = Field(default=60.0, gt=0)
    broker_connect_timeout_s: float = Field(default=5.0, gt=0)
    prefetch: int = Field(default=64, ge=1, le=1000)
    drain_timeout_s: float = Field(default=20.0, gt=0)

    @field_validator("broker_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(url.strip() for url in value.split(",")) if isinstance(value, str) else value

    def broker_password(self) -> SecretStr:
        """Read the password from its file."""
        return SecretStr(self.broker_password_file.read_text().strip())


class EnvironmentSettings(BaseSettings):
    """Where we run.  Development makes a sign-in that production refuses."""

    model_config = SettingsConfigDict(frozen=True)

    postroad_env: Literal["development", "production"] = "production"

    @property
    def is_development(self) -> bool:
        return self.postroad_env == "development"


def read_settings(settings: type[SettingsT]) -> SettingsT:
    """Read settings from the environment, or end the process with one sentence a variable."""
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        for problem in error.errors(include_input=False):
            variable = f"{prefix}{problem['loc'][0] if problem['loc'] else ''}".upper()
            sys.stderr.write(f"cannot start: {variable}: {problem['msg']}\n")
        raise SystemExit(2) from None
