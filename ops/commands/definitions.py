"""`postroad definitions`: the broker's definitions, generated from contracts and service.toml."""

import json
from argparse import ArgumentParser, Namespace

from ops.services.manifests import our_services
from postroad.topology.definitions import definitions


def add_arguments(_parser: ArgumentParser) -> None:
    """It takes none."""


def run(_options: Namespace) -> int:
    """Print them; return the exit status."""
    print(json.dumps(definitions(our_services()), indent=2))
    return 0
