"""`postroad new`: write a service that runs, with its tests."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from ops.commands import contracts
from ops.commands.errors import CommandError
from ops.scaffold.plan import Plan, PlanError
from ops.scaffold.rendering import files
from ops.services import manifests

EXAMPLES = """\
examples:
  postroad new service shipments --method create --method get --http
  postroad new service shipments --method create --method get --event created \\
    --job labels.print --database --http

A method, an event or a job is VERB, which is about the service's own things, or NOUN.VERB. The
methods create, get and list do what their names say; any other is to be filled in. create sends
the events and jobs.
"""


def add_arguments(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    service = kinds.add_parser(
        "service",
        help="a package with contracts, handlers, service.toml and tests",
        description="Write a service that runs, with its tests. No existing file is changed.",
        formatter_class=RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    service.add_argument("name", metavar="NAME", help="what it is about, in the plural: shipments")
    for kind, what in (
        ("method", "what it answers"),
        ("event", "what it tells; needs a database"),
        ("job", "what it does later; needs a database"),
    ):
        service.add_argument(
            f"--{kind}", action="append", default=[], metavar="[NOUN.]VERB", help=what
        )
    service.add_argument("--database", action="store_true", help="tables, migrations, outbox")
    service.add_argument(
        "--http", action="store_true", help="a route of the bridge for each method"
    )


def run(options: Namespace) -> int:
    """Write the files, and say what to do next."""
    plan = _plan(options)
    root = manifests.ROOT
    _check_free(plan, root)
    for name, text in files(plan).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from error
        if text:
            print(f"wrote {name}")
    path = contracts.write_own(plan.service)
    print(f"wrote {path.relative_to(root)}")
    _show_next(plan, was_implied=plan.has_database and not options.database)
    return 0


def _plan(options: Namespace) -> Plan:
    try:
        return Plan.make(
            options.name,
            methods=options.method,
            events=options.event,
            jobs=options.job,
            has_database=options.database,
            http=options.http,
        )
    except PlanError as error:
        raise CommandError(str(error), exit_status=2) from error


def _check_free(plan: Plan, root: Path) -> None:
    """Refuse what would meet a service or a route that is there already."""
    known = {each.name: each for each in manifests.manifests()}
    if plan.service in known:
        raise CommandError(
            f"there is a service {plan.service} already: {known[plan.service].folder}"
        )
    for name in (plan.package, f"tests/unit/{plan.package}"):
        if (root / name).exists():
            raise CommandError(f"{root / name} is there already; nothing was written")
    taken = {route.path.split("/")[1] for each in known.values() for route in each.http}
    taken |= {"docs", "healthz", "live", "readyz"}  # http_bridge/routes/table.py
    if plan.http and plan.service in taken:
        raise CommandError(f"the path /{plan.service} is taken; choose another name, or no --http")


def _show_next(plan: Plan, *, was_implied: bool) -> None:
    if was_implied:
        print(
            "It has a database, because an event or job is written in the transaction of its cause."
        )
    method = plan.of("method")[0]
    arguments = {
        "create": " name=example",
        "list": "",
        "get": f" {plan.thing}_id=1",
        "change": f" {plan.thing}_id=1",
    }
    print("\nNext:")
    print(f"  make test ARGS=tests/unit/{plan.package}")
    print("  make run")
    print(f"  .venv/bin/postroad call {method.name}{arguments[method.role]}")
    print("docs/service-toml.md explains service.toml; docs/adding-a-service.md is the guide.")
