"""What the catalogue worker is told by its environment."""

import os
import ssl
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from requests.utils import get_environ_proxies, select_proxy

from postroad.limits import LONGEST_WAIT_S, MESSAGE_MAX_BYTES
from postroad.settings import MessagingSettings
from postroad.storage.settings import DatabaseSettings
from postroad.urls import is_loopback, read_base_url, read_url

_PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_CA_FILES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order in which requests looks


class CatalogSettings(BaseSettings):
    """Where products come from.  Environment prefix ``CATALOG_``.

    An answer is fresh for ``cache_fresh_s``. For ``cache_refresh_s`` more it is given at once and
    renewed meanwhile. For ``cache_stale_s`` more it is given only if upstream cannot be asked.

    ``upstream_ca_file``: the authorities, in PEM, of which one has to vouch for upstream; without
    it, any public one.
    """

    model_config = SettingsConfigDict(env_prefix="CATALOG_", frozen=True)

    upstream_url: Annotated[str, AfterValidator(read_base_url)]
    upstream_timeout_s: float = Field(default=4.0, gt=0, le=LONGEST_WAIT_S)  # all attempts, pauses
    upstream_connect_timeout_s: float = Field(default=1.0, gt=0, le=LONGEST_WAIT_S)
    upstream_read_timeout_s: float = Field(default=3.0, gt=0, le=LONGEST_WAIT_S)
    upstream_attempts: int = Field(default=3, ge=1, le=10)
    upstream_connections: int = Field(default=16, ge=1, le=256)
    # a page that our own message holds, and as much again of what we did not ask for
    upstream_body_max_bytes: int = Field(default=2 * MESSAGE_MAX_BYTES, ge=1024)
    upstream_ca_file: Path | None = None
    breaker_failures: int = Field(default=5, ge=1)
    breaker_rest_s: int = Field(default=5, ge=1, le=int(LONGEST_WAIT_S))
    cache_fresh_s: float = Field(default=5.0, ge=0, le=LONGEST_WAIT_S)
    cache_refresh_s: float = Field(default=30.0, ge=0, le=LONGEST_WAIT_S)
    cache_stale_s: float = Field(default=300.0, ge=0, le=LONGEST_WAIT_S)
    cache_max_entries: int = Field(default=1000, ge=1)

    @field_validator("upstream_ca_file")
    @classmethod
    def _has_certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            _check_certificates(path)
        return path

    @model_validator(mode="after")
    def _the_environment_can_be_used(self) -> Self:
        """Check what requests reads from the environment for each fetch."""
        if is_loopback(self.upstream_url):
            return self
        proxy = select_proxy(self.upstream_url, get_environ_proxies(self.upstream_url))
        if proxy:
            whole = proxy if "://" in proxy else f"http://{proxy}"
            try:
                read_url(whole, *_PROXIES, allows_user=True)
            except ValueError as error:
                raise ValueError(f"the proxy that the environment names: {error}") from None
        name = next(filter(os.environ.get, _CA_FILES), None)
        if self.upstream_url.lower().startswith("https:") and name and not self.upstream_ca_file:
            path = Path(os.environ[name])
            try:
                if not path.is_dir():
                    _check_certificates(path)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return self


def _check_certificates(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot take certificates from {path}: {reason}") from error


class StoreSettings(DatabaseSettings):
    """Where products are kept, and how they get there.  Environment prefix ``CATALOG_``.

    ``sync_page_size``: how many products to ask upstream for at a time; no more than it gives.
    ``sync_every_s``: how often to start a sync; 0 is never. ``sync_patience_s``: a sync that
    makes no progress for so long has failed.
    """

    model_config = SettingsConfigDict(env_prefix="CATALOG_", frozen=True)

    sync_page_size: int = Field(default=100, ge=1, le=1000)
    sync_every_s: float = Field(default=0.0, ge=0, le=LONGEST_WAIT_S)
    sync_patience_s: float = Field(default=1800.0, gt=0, le=LONGEST_WAIT_S)


class SyncMessagingSettings(MessagingSettings):
    """Each page that is being fetched is a request under way at upstream, so few are at a time."""

    prefetch: int = Field(default=8, ge=1, le=100)
