"""A service of another team, `shop`, beside ours; what it was given lies in files."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad.security.keyring import KeyRing
from postroad.security.keys import Identity, TrustBundle
from postroad.settings import MessagingSettings
from postroad.topology.definitions import Definitions, definitions
from postroad.topology.manifest import find_services
from postroad.topology.services import Service, Services, trust_bundle
from tests.conftest import ROOT
from tests.support.brokers import RabbitUnderTest
from tests.support.typescript import Workspace, built_once
from tests.support.vhosts import PASSWORD

SHOP = Service(calls=("catalog.products.*",), listens=("auth.*",))


@dataclass(frozen=True)
class ServiceFiles:
    """What a service is given, as `postroad services add` says it."""

    environment: dict[str, str]

    def settings(self) -> MessagingSettings:
        fields = {name.lower(): value for name, value in self.environment.items()}
        return MessagingSettings.model_validate(fields)

    def with_others(self) -> dict[str, str]:
        """Give the environment of a process."""
        return os.environ | self.environment


@pytest.fixture(scope="package")
def services() -> Services:
    return Services(find_services(ROOT).root | {"shop": SHOP})


@pytest.fixture
def topology(services: Services) -> Definitions:
    return definitions(services)


@pytest.fixture(scope="package")
def identities(services: Services) -> dict[str, Identity]:
    return {name: Identity.create(name) for name in services.names}


@pytest.fixture(scope="package")
def trust(services: Services, identities: dict[str, Identity]) -> TrustBundle:
    return TrustBundle.model_validate(trust_bundle(services, identities.values()))


@pytest.fixture
def keys(identities: dict[str, Identity], trust: TrustBundle) -> dict[str, KeyRing]:
    return {name: KeyRing(identity, trust) for name, identity in identities.items()}


def files_of(
    keys: KeyRing, folder: Path, broker: RabbitUnderTest, *, port: int | None = None
) -> ServiceFiles:
    """Write what a service is given into a folder; ``port`` is another way to the broker."""
    folder.mkdir(exist_ok=True)
    keys.identity.save(folder / "identity.json")
    (folder / "trust.json").write_text(keys.trust.model_dump_json())
    (folder / "password").write_text(PASSWORD)
    return ServiceFiles(
        {
            "BROKER_URLS": f"amqp://127.0.0.1:{port or broker.node.amqp_port}/{broker.vhost}",
            "BROKER_PASSWORD_FILE": str(folder / "password"),
            "IDENTITY_FILE": str(folder / "identity.json"),
            "TRUST_FILE": str(folder / "trust.json"),
        }
    )


@pytest.fixture
def shop(tmp_path: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing]) -> ServiceFiles:
    return files_of(keys["shop"], tmp_path / "shop", rabbit_broker)


@pytest.fixture(scope="session")
def typescript(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Workspace:
    """The TypeScript client and the Node example, built."""
    base = tmp_path_factory.getbasetemp()
    return built_once(base if worker_id == "master" else base.parent)
