"""The files of a new service, made of the templates beside this module."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ops.scaffold.plan import Message, Plan
from ops.scaffold.python_source import imports

_TEMPLATES = Path(__file__).with_name("templates")


def files(plan: Plan) -> dict[str, str]:
    """Return the text of each file, by its path in the repository."""
    package, tests = plan.package, f"tests/unit/{plan.package}"
    wanted = {
        f"{package}/__main__.py": "__main__.py",
        f"{package}/contracts.py": "contracts.py",
        f"{package}/handlers.py": "handlers.py",
        f"{package}/service.toml": "service.toml",
        f"{package}/wiring.py": "wiring.py",
        f"{tests}/test_{plan.service}.py": "tests.py",
    }
    packages = [package, tests]
    if plan.jobs:
        wanted[f"{package}/jobs.py"] = "jobs.py"
    if plan.has_database:
        migrations = f"{package}/migrations"
        packages += [migrations, f"{migrations}/versions"]
        wanted |= {
            f"{package}/{plan.service}.py": "keeper.py",
            f"{package}/settings.py": "settings.py",
            f"{package}/tables.py": "tables.py",
            f"{package}/migrate.py": "migrate.py",
            f"{migrations}/env.py": "env.py",
            f"{migrations}/versions/r0001_first_tables.py": "first_migration.py",
        }
    found = {path: render(f"{template}.jinja", plan) for path, template in wanted.items()}
    found |= {f"{each}/__init__.py": "" for each in packages}
    if plan.has_database:  # a template of Alembic's, for the migrations that follow
        mako = _TEMPLATES / "script.py.mako"
        found[f"{package}/migrations/script.py.mako"] = mako.read_text()
    return dict(sorted(found.items()))


def render(template: str, plan: Plan, message: Message | None = None) -> str:
    """Return the text of one template."""
    text = _environment().get_template(template).render(plan=plan, message=message)
    return text.strip("\n") + "\n"


def _environment() -> Environment:
    environment = Environment(  # noqa: S701  # Python and TOML, not HTML
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=False
    )
    environment.globals |= {
        "imports": _imports,
        "json": json.dumps,
        "words": lambda name: name.replace("_", " "),
    }
    return environment


def _imports(names: dict[str, list[str]]) -> str:
    return "\n".join(imports([], {module: found for module, found in names.items() if found}))
