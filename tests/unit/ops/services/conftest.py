"""A service to add, and a state folder that nothing runs on."""

from pathlib import Path

import pytest

from ops.state.folder import StateFolder
from postroad.topology.services import Service

SHOP = Service(calls=("catalog.products.*",), listens=("auth.login.*",))


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")
