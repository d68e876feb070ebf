"""What the HTTP bridge is told by its environment."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from postroad.limits import LONGEST_WAIT_S
from postroad.urls import read_host, read_origin


class BridgeSettings(BaseSettings):
    """Where to listen, and the limits.  Environment prefix ``BRIDGE_``; ``PORT`` works too.

    ``fds``: open sockets to listen on instead, inherited from whoever starts the bridge.
    ``forwarded_allow_ips``: ``FORWARDED_ALLOW_IPS``, the proxies that are believed.
    """

    model_config = SettingsConfigDict(env_prefix="BRIDGE_", frozen=True, populate_by_name=True)

    host: Annotated[str, AfterValidator(read_host)] = "127.0.0.1"
    port: int = Field(
        default=8000, ge=1, le=65_535, validation_alias=AliasChoices("BRIDGE_PORT", "PORT")
    )
    fds: tuple[int, ...] = ()
    public_url: Annotated[str, AfterValidator(read_origin)] | None = None
    forwarded_allow_ips: str = Field(default="", validation_alias="FORWARDED_ALLOW_IPS")
    docs: bool = Field(default=True, validation_alias="DOCS")
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    body_max_bytes: int = Field(default=16 * 1024, ge=256)
    headers_max_bytes: int = Field(default=16 * 1024, ge=1024)
    in_flight_max: int = Field(default=2000, ge=1)
    connections_max: int = Field(default=4000, ge=1)
    receive_timeout_s: float = Field(default=10.0, gt=0, le=LONGEST_WAIT_S)
    send_timeout_s: float = Field(default=10.0, gt=0, le=LONGEST_WAIT_S)
    keep_alive_s: int = Field(default=75, ge=1, le=int(LONGEST_WAIT_S))
    drain_timeout_s: int = Field(default=15, ge=1, le=int(LONGEST_WAIT_S))

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        """Refuse what uvicorn would take for the name of a socket, which no proxy has."""
        for each in map(str.strip, text.split(",")):
            if each not in ("", "*"):
                try:
                    ip_network(each)
                except ValueError as error:
                    raise ValueError(
                        f"{error}; it must be a list of addresses and networks, or *"
                    ) from None
        return text
