"""What the catalogue worker is told by its environment."""

from pydantic import AnyHttpUrl, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CatalogSettings(BaseSettings):
    """Where products come from.  Environment prefix ``CATALOG_``."""

    model_config = SettingsConfigDict(env_prefix="CATALOG_", frozen=True)

    upstream_url: AnyHttpUrl
    upstream_connect_timeout_s: float = Field(default=2.0, gt=0)
    upstream_read_timeout_s: float = Field(default=4.0, gt=0)
    upstream_connections: int = Field(default=16, ge=1, le=256)
    upstream_body_max_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    cache_lifetime_s: float = Field(default=5.0, ge=0)
    cache_max_entries: int = Field(default=1000, ge=1)
