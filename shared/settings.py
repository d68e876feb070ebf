"""Settings that every service shares, read once from the environment."""

import ssl
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.tls import client_context

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


class MetricsSettings(BaseSettings):
    """Where to tell Prometheus how it goes.  Environment prefix ``METRICS_``.

    ``port``: 0 is one that the system chooses, and the log names; without it nothing is told.
    """

    model_config = SettingsConfigDict(env_prefix="METRICS_", frozen=True)

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65_535)


class TracingSettings(BaseSettings):
    """Where traces go.  OpenTelemetry's own variables, prefix ``OTEL_``; its SDK reads the others.

    Without an endpoint nothing is recorded, and nothing of OpenTelemetry is imported.
    """

    model_config = SettingsConfigDict(env_prefix="OTEL_", frozen=True, env_ignore_empty=True)

    sdk_disabled: bool = False
    traces_exporter: Literal["otlp", "none"] = "otlp"
    exporter_otlp_endpoint: str = ""
    exporter_otlp_traces_endpoint: str = ""
    exporter_otlp_protocol: Literal["http/protobuf"] = "http/protobuf"
    exporter_otlp_traces_protocol: Literal["http/protobuf"] = "http/protobuf"

    @property
    def endpoint(self) -> str:
        return self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint

    @property
    def is_wanted(self) -> bool:
        return bool(self.endpoint) and self.traces_exporter == "otlp" and not self.sdk_disabled


class MessagingSettings(BaseSettings):
    """How to reach the broker, and with which keys.

    ``broker_urls``: one or more ``amqp://host:port/vhost``, separated by commas, without
    credentials: the user name is the service's own, the password is in ``broker_password_file``.
    With ``amqps://`` the broker has to show a certificate of ``broker_ca_file`` for its host name,
    and is shown ours; the three files are read anew for each connection.
    """

    model_config = SettingsConfigDict(frozen=True)

    broker_urls: Annotated[tuple[str, ...], NoDecode, Field(min_length=1)]
    broker_password_file: Path
    broker_ca_file: Path | None = Field(default=None, validate_default=True)
    broker_certificate_file: Path | None = Field(default=None, validate_default=True)
    broker_key_file: Path | None = Field(default=None, validate_default=True)
    identity_file: Path
    trust_file: Path
    # pika notices a dead connection within twice this and 10 s: seen 30.2 s with 10
    broker_heartbeat_s: int = Field(default=8, ge=2, le=300)
    broker_blocked_timeout_s: float = Field(default=60.0, gt=0)
    broker_connect_timeout_s: float = Field(default=5.0, gt=0)
    prefetch: int = Field(default=64, ge=1, le=1000)
    drain_timeout_s: float = Field(default=20.0, gt=0)

    @field_validator("broker_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(url.strip() for url in value.split(",")) if isinstance(value, str) else value

    @field_validator("broker_urls")
    @classmethod
    def _all_or_none_encrypted(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        schemes = {url.partition("://")[0] for url in urls}
        if not schemes <= {"amqp", "amqps"}:
            raise ValueError("write amqp://host:port/vhost, or amqps:// for TLS")
        if len(schemes) > 1:  # or to be away would be enough to be reached in the open
            raise ValueError("amqp:// and amqps:// cannot be mixed")
        return urls

    @field_validator("broker_ca_file", "broker_certificate_file", "broker_key_file")
    @classmethod
    def _there_for_tls(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if not _is_encrypted(info.data.get("broker_urls", ())):
            return path
        if path is None:
            raise ValueError("is missing, and BROKER_URLS has amqps://")
        _try(path.read_bytes, f"cannot read {path}")
        return path

    @field_validator("broker_key_file")
    @classmethod
    def _fits_the_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        ca, certificate = (info.data.get(f"broker_{name}_file") for name in ("ca", "certificate"))
        if key and ca and certificate and _is_encrypted(info.data.get("broker_urls", ())):
            _try(
                lambda: client_context(ca, certificate, key),
                f"cannot use {key} with {certificate} and {ca}",
            )
        return key

    def broker_tls(self) -> ssl.SSLContext:
        """Read who the broker must be, and who we are, from their files.

        Raises:
            OSError: one of them cannot be used; they were all right at the start.
        """
        if not (self.broker_ca_file and self.broker_certificate_file and self.broker_key_file):
            raise FileNotFoundError("there are no certificates")
        return client_context(
            self.broker_ca_file, self.broker_certificate_file, self.broker_key_file
        )

    def broker_password(self) -> SecretStr:
        """Read the password from its file."""
        return SecretStr(self.broker_password_file.read_text().strip())


def _is_encrypted(urls: Iterable[str]) -> bool:
    return any(url.startswith("amqps:") for url in urls)


def _try(act: Callable[[], object], problem: str) -> None:
    """Turn what goes wrong with a file into a sentence of the settings' own."""
    try:
        act()
    except OSError as error:
        raise ValueError(f"{problem}: {error.strerror or error}") from error


class EnvironmentSettings(BaseSettings):
    """Where we run.  Development makes a sign-in that production refuses."""

    model_config = SettingsConfigDict(frozen=True)

    postroad_env: Literal["development", "production"] = "production"

    @property
    def is_development(self) -> bool:
        return self.postroad_env == "development"


class SettingsError(Exception):
    """Variables are missing or wrong; the message has a line for each."""


def settings_from_environment(settings: type[SettingsT]) -> SettingsT:
    """Read settings from the environment.

    Raises:
        SettingsError: they are not all there and right.
    """
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        problems = []
        for problem in error.errors(include_input=False):
            variable = f"{prefix}{problem['loc'][0] if problem['loc'] else ''}".upper()
            problems.append(f"{variable}: {problem['msg']}")
        raise SettingsError("\n".join(problems)) from None


def read_settings(settings: type[SettingsT]) -> SettingsT:
    """Read settings from the environment, or end the process with one sentence a variable."""
    try:
        return settings_from_environment(settings)
    except SettingsError as error:
        for problem in str(error).splitlines():
            sys.stderr.write(f"cannot start: {problem}\n")
        raise SystemExit(2) from None
