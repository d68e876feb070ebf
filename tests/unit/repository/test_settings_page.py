"""docs/settings.md names every setting of our services."""

from importlib import import_module

import pytest
from pydantic_settings import BaseSettings

from postroad.storage.settings import DatabaseSettings
from tests.safeguards.listed import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text()
MODULES = (
    "postroad.settings",
    *("auth_worker.settings", "catalog_worker.settings", "http_bridge.settings"),
)


def variables() -> list[str]:
    found = set()
    for module in map(import_module, MODULES):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, BaseSettings):
                if kind.__module__ != module.__name__ or kind is DatabaseSettings:
                    continue  # each service has its own prefix
                prefix = kind.model_config.get("env_prefix", "")
                for name, field in kind.model_fields.items():
                    alias = field.validation_alias
                    found.add(alias if isinstance(alias, str) else f"{prefix}{name}".upper())
    return sorted(each for each in found if not each.startswith("OTEL_"))  # the page links to them


@pytest.mark.parametrize("variable", variables())
def test_a_setting_is_on_the_page(variable: str) -> None:
    assert f"`{variable}`" in PAGE
