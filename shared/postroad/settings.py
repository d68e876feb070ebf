"""Settings that every service shares, read once from the environment."""

import os
import ssl
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from postroad.limits import LONGEST_WAIT_S
from postroad.security.keys import Identity, KeyFileError, TrustBundle
from postroad.security.tls import client_context, public_context
from postroad.urls import read_broker_url, read_host, read_url, without_secrets

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


class LogSettings(BaseSettings):
    """How to log.  Environment prefix ``LOG_``.

    ``format``: ``console`` for people, ``json`` for machines; by default the first in a terminal.
    """

    model_config = SettingsConfigDict(env_prefix="LOG_", frozen=True)

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = Field(
        default_factory=lambda: "console" if sys.stdout and sys.stdout.isatty() else "json"
    )


class MetricsSettings(BaseSettings):
    """Where to tell Prometheus how it goes.  Environment prefix ``METRICS_``.

    ``port``: 0 is one that the system chooses, and the log names; without it nothing is told.
    """

    model_config = SettingsConfigDict(env_prefix="METRICS_", frozen=True)

    host: Annotated[str, AfterValidator(read_host)] = "127.0.0.1"
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

    @field_validator("exporter_otlp_endpoint", "exporter_otlp_traces_endpoint")
    @classmethod
    def _can_be_sent_to(cls, url: str, info: ValidationInfo) -> str:
        is_whole = "traces" in str(info.field_name)  # to the other, /v1/traces is appended
        if url:
            read_url(url, "http", "https", allows_user=True, allows_query=is_whole)
        return url

    @property
    def endpoint(self) -> str:
        return self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint

    @property
    def is_wanted(self) -> bool:
        return bool(self.endpoint) and self.traces_exporter == "otlp" and not self.sdk_disabled


# What may be given itself, as X, or in a file, as X_FILE; and what it has to be.
CONTENTS: dict[str, type[BaseModel] | None] = {
    "broker_password": None,
    "identity": Identity,
    "trust": TrustBundle,
}


class MessagingSettings(BaseSettings):
    """How to reach the broker, and with which keys.

    ``broker_urls``: one or more ``amqp://host:port/vhost``, separated by commas, without
    credentials: the user name is the service's own. With ``amqps://`` the broker has to show a
    certificate for its host name. With the three ``broker_…_file`` it is one of our authority, and
    is shown ours; they are read anew for each connection. Without them it is one of an authority
    that the system trusts, and there is none of ours.

    ``broker_password``, ``identity`` and ``trust`` are what would be in the three files. It is kept
    in a file in memory, so there is one way to read it; but nobody can change it while we run. It
    stays in the environment too: settings may be read again, and /proc shows it in any case.
    """

    model_config = SettingsConfigDict(frozen=True)

    broker_urls: Annotated[tuple[str, ...], NoDecode, Field(min_length=1)]
    broker_ca_file: Path | None = None
    broker_certificate_file: Path | None = None
    broker_key_file: Path | None = None
    broker_password: SecretStr | None = None
    broker_password_file: Path = Field(default=Path(), validate_default=True)
    identity: SecretStr | None = None
    identity_file: Path = Field(default=Path(), validate_default=True)
    trust: SecretStr | None = None
    trust_file: Path = Field(default=Path(), validate_default=True)
    # pika notices a dead connection within twice this and 10 s: seen 30.2 s with 10
    broker_heartbeat_s: int = Field(default=8, ge=2, le=300)
    broker_blocked_timeout_s: float = Field(default=60.0, gt=0, le=LONGEST_WAIT_S)
    broker_connect_timeout_s: float = Field(default=5.0, gt=0, le=LONGEST_WAIT_S)
    prefetch: int = Field(default=64, ge=1, le=1000)
    drain_timeout_s: float = Field(default=20.0, gt=0, le=LONGEST_WAIT_S)

    @field_validator("broker_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(url.strip() for url in value.split(",")) if isinstance(value, str) else value

    @field_validator("broker_urls")
    @classmethod
    def _all_or_none_encrypted(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if "" in urls and len(urls) > 1:
            raise ValueError("has an empty entry: there is a comma too many")
        for url in urls:  # first: a comma in a password makes two entries of it
            if "@" in url:
                raise ValueError(
                    f"{without_secrets(url)}: must not have a user or a password: the user is "
                    "the service's name"
                )
        brokers = [read_broker_url(url) for url in urls]
        if len({broker.is_encrypted for broker in brokers}) > 1:
            # or to be away would be enough to be reached in the open
            raise ValueError("amqp:// and amqps:// cannot be mixed")
        return urls

    @field_validator(*(f"{name}_file" for name in CONTENTS))
    @classmethod
    def _file_or_content(cls, path: Path, info: ValidationInfo) -> Path:
        name = str(info.field_name).removesuffix("_file")
        given = info.data.get(name)
        content = given.get_secret_value() if given else ""
        is_there = path != Path()
        if is_there and content:
            raise ValueError(f"is set, and {name.upper()} too; leave one of them out")
        if not is_there and not content:
            raise ValueError(f"is missing; or set {name.upper()} to what would be in that file")
        return _in_memory(name, content) if content else path

    @model_validator(mode="after")
    def _certificates_can_be_used(self) -> Self:
        files = (self.broker_ca_file, self.broker_certificate_file, self.broker_key_file)
        if not read_broker_url(self.broker_urls[0]).is_encrypted or not any(files):
            return self
        for name, path in zip(("CA", "CERTIFICATE", "KEY"), files, strict=True):
            variable = f"BROKER_{name}_FILE"
            if path is None:
                raise ValueError(f"{variable}: is missing; for amqps:// set all three, or none")
            _try(path.read_bytes, f"{variable}: cannot read {path}")
        ca, certificate, key = files
        _try(self.broker_tls, f"BROKER_KEY_FILE: cannot use {key} with {certificate} and {ca}")
        return self

    def broker_tls(self) -> ssl.SSLContext:
        """Say who the broker must be, and who we are, by what is in the files now.

        Raises:
            OSError: one of them cannot be used; they were all right at the start.
        """
        if self.broker_ca_file and self.broker_certificate_file and self.broker_key_file:
            return client_context(
                self.broker_ca_file, self.broker_certificate_file, self.broker_key_file
            )
        return public_context()

    def unreadable_files(self) -> Iterator[str]:
        """Say of the files that each service reads at its start what is wrong with them."""
        try:
            if not self.read_broker_password().get_secret_value():
                yield f"BROKER_PASSWORD_FILE: {self.broker_password_file} is empty"
        except OSError as error:
            yield f"BROKER_PASSWORD_FILE: cannot read {error.filename}: {error.strerror}"
        except UnicodeDecodeError:
            yield f"BROKER_PASSWORD_FILE: {self.broker_password_file} is not UTF-8"
        for variable, load, path in (
            ("IDENTITY_FILE", Identity.load, self.identity_file),
            ("TRUST_FILE", TrustBundle.load, self.trust_file),
        ):
            try:
                load(path)
            except KeyFileError as error:
                yield f"{variable}: {error}"

    def read_broker_password(self) -> SecretStr:
        """Read the password from its file."""
        return SecretStr(self.broker_password_file.read_text().strip())


@cache  # who reads the settings again is given the same file
def _in_memory(name: str, content: str) -> Path:
    """Keep what is good as ``name`` where no program that we start finds it (memfd_create(2)).

    Raises:
        ValueError: it is something else.
    """
    if model := CONTENTS[name]:
        try:
            model.model_validate_json(content)
        except ValidationError:
            raise ValueError(f"{name.upper()} is not what is in such a file") from None
    descriptor = os.memfd_create(name)
    os.write(descriptor, content.encode())
    return Path(f"/proc/self/fd/{descriptor}")


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
        SettingsError: they are not all there and right, or files that they name cannot be read.
    """
    try:
        found = settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        raise SettingsError("\n".join(sentences(error, prefix))) from None
    if isinstance(found, MessagingSettings) and (problems := list(found.unreadable_files())):
        raise SettingsError("\n".join(problems))
    return found


def read_settings(settings: type[SettingsT]) -> SettingsT:
    """Read settings from the environment, or end the process with one sentence a variable."""
    try:
        return settings_from_environment(settings)
    except SettingsError as error:
        for sentence in str(error).splitlines():
            print(f"cannot start: {sentence}", file=sys.stderr)  # noqa: T201  # or stdout, if closed
        raise SystemExit(2) from None


def sentences(error: ValidationError, prefix: str = "") -> Iterator[str]:
    """Say what is wrong with settings, without quoting their values."""
    for problem in error.errors(include_input=False):
        said = problem["msg"].removeprefix("Value error, ")
        if problem["loc"]:  # else the sentence names them itself
            name = str(problem["loc"][0])  # of the field, or of its variable: BRIDGE_PORT
            said = f"{name if name.isupper() else f'{prefix}{name}'.upper()}: {said}"
        yield said
