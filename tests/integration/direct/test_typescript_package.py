"""The TypeScript package by itself: its own tests, its README, its contracts and its errors."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postroad.context import RequestContext, current_context
from postroad.contracts.catalog import GetProduct, ListProducts, Product, ProductPage
from postroad.contracts.errors import ERRORS
from postroad.contracts.events import LoginFailed
from postroad.messaging.rpc_worker import Handlers
from postroad.observability.trace_context import TraceContext, current_trace
from postroad.testing import access_token, calling, make_keys, serving
from postroad.topology.definitions import definitions
from tests.conformance.listening import telling
from tests.integration.direct import prices
from tests.integration.direct.conftest import ServiceFiles, files_of
from tests.integration.direct.prices import Quote, QuotePrice
from tests.support.brokers import rabbit_under_test
from tests.support.services import LAMP
from tests.support.typescript import ROOT, TIMEOUT_S, Workspace, command, needs_npm
from tests.support.vhosts import Vhosts

pytestmark = needs_npm

README = ROOT / "clients" / "typescript" / "README.md"
TSC = ("node_modules/.bin/tsc",)
VECTORS = "dist/test/vectors.test.js"
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
WAITING = ("listening", "serving")  # what a script of the README says when it has begun
SAID_BY_ALL = {  # what any call may end with
    "Unavailable", "Overloaded", "ReplyTimeout", "OutcomeUnknown", "PeerError",
    "InvalidRequest", "NotAuthenticated", "NotAuthorised", "Internal",
}  # fmt: skip


def test_it_speaks_the_protocol_of_the_vectors(typescript: Workspace) -> None:
    tests = sorted(str(each) for each in (typescript.client / "dist/test").glob("*.test.js"))

    done = command("node", "--test", "--test-reporter", "tap", *tests, cwd=typescript.client)

    assert done.returncode == 0, done.stdout
    assert "# fail 0" in done.stdout


def test_its_check_of_the_vectors_can_fail(typescript: Workspace, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "vectors", tmp_path, dirs_exist_ok=True)
    wrong: dict[str, Callable[[Any], object]] = {
        "pair_keys": lambda content: content[0].update(key=content[1]["key"]),
        "accepted": lambda content: content[-1].update(body="{}"),
        "refused": lambda content: content[-1].update(signature=None),
        "sealed": lambda content: content.update(secret="another"),
        "token": lambda content: content["claims"].update(sub="another"),
    }
    for name, change in wrong.items():
        content = json.loads((tmp_path / f"{name}.json").read_text())
        change(content)
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    done = command(*("env", f"POSTROAD_VECTORS={tmp_path}", "node", VECTORS), cwd=typescript.client)

    assert done.returncode == 1
    failed = re.findall(r"^not ok \d+ - (.*)$", done.stdout, re.MULTILINE)
    assert failed == [
        "both sides derive the key from orders to catalog",
        "accepted: request_with_spaces_and_unknown_claims",
        "refused: event_by_public_key_hmac",
        "the sealed secret opens for its receiver and its context alone",
        "a token is read as it was issued, and no other is",
    ]


PRINT_ERRORS = """\
import * as library from 'postroad'
import * as contracts from 'postroad/contracts'

for (const [name, made] of [...Object.entries(library), ...Object.entries(contracts)]) {
  if (typeof made !== 'function' || !made.code) continue
  const { code, title, isRetryable, mayHaveHappened } = new made()
  console.log(JSON.stringify([name, code, title, isRetryable, mayHaveHappened]))
}
"""


def test_its_errors_are_those_of_the_contracts(typescript: Workspace) -> None:
    script = typescript.example / "errors.mjs"
    script.write_text(PRINT_ERRORS)

    done = command("node", script.name, cwd=typescript.example)

    found = {tuple(json.loads(line)) for line in done.stdout.splitlines()}
    names = {name for name, *_ in found}
    assert done.returncode == 0, done.stderr
    assert names >= SAID_BY_ALL | {"ProductNotFound"}
    for name, code, title, is_retryable, may_have_happened in found:
        error = ERRORS[code]
        assert error.__name__.removesuffix("Error") == name.removesuffix("Error")
        assert (title, is_retryable, may_have_happened) == (
            error.title,
            error.is_retryable,
            error.may_have_happened,
        )


def test_a_contract_that_breaks_the_example_fails_its_compiler(
    typescript: Workspace, tmp_path: Path
) -> None:
    changed = linked_copy(typescript, tmp_path)
    assert command(*TSC, "--noEmit", cwd=changed.example).stdout == ""

    document = changed.folder / "docs" / "asyncapi.json"
    as_it_is = document.read_text()
    product = json.loads(as_it_is)["components"]["schemas"]["Product"]
    assert "title" in product["properties"]
    document.write_text(as_it_is.replace('"title": {', '"name": {').replace('"title",', '"name",'))
    assert command("npm", "run", "--silent", "contracts", cwd=changed.client).returncode == 0
    command(
        *TSC, cwd=changed.client
    )  # writes the package's types; a program in its tests fails too
    broken = command(*TSC, "--noEmit", cwd=changed.example)

    assert broken.returncode != 0
    assert "list-products.ts" in broken.stdout
    assert "Property 'title' does not exist on type 'Product'" in broken.stdout


def linked_copy(typescript: Workspace, folder: Path) -> Workspace:
    """Copy what was built, without what was installed for it."""
    copy = Workspace(folder / "copy")
    shutil.copytree(
        typescript.folder, copy.folder, ignore=shutil.ignore_patterns("node_modules", "dist")
    )
    (copy.client / "node_modules").symlink_to(typescript.client / "node_modules")
    shutil.copytree(typescript.client / "dist", copy.client / "dist")
    modules = copy.example / "node_modules"
    modules.mkdir()
    for each in (typescript.example / "node_modules").iterdir():
        (modules / each.name).symlink_to(copy.client if each.name == "postroad" else each)
    return copy


def test_what_no_type_can_say_is_refused(typescript: Workspace, tmp_path: Path) -> None:
    document = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    document["components"]["schemas"]["Product"]["properties"]["title"] = {"not": {}}
    (tmp_path / "odd.json").write_text(json.dumps(document))

    done = command(
        *("node", "bin/contracts.js", str(tmp_path / "odd.json"), str(tmp_path / "odd.ts")),
        cwd=typescript.client,
    )

    assert done.returncode == 1
    assert 'no type for the schema {"not":{}}' in done.stderr
    assert not (tmp_path / "odd.ts").exists()


async def begin(folder: Path, script: str, files: ServiceFiles) -> asyncio.subprocess.Process:
    """Start a script; where it goes on for long, wait until it says that it has begun."""
    process = await asyncio.create_subprocess_exec(
        *("node", f"dist/{script}.js"),
        cwd=folder,
        env=files.with_others(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    if script != "call":
        begun = await asyncio.wait_for(process.stdout.readline(), TIMEOUT_S)
        assert begun.decode().strip() in WAITING
    return process


async def ended(process: asyncio.subprocess.Process) -> str:
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 0
    return output.decode()


@pytest.mark.integration
async def test_what_its_readme_shows_runs(
    typescript: Workspace, vhosts: Vhosts, tmp_path: Path
) -> None:
    """One of them is a service of another team, between a Python caller and a Python service."""
    services = prices.services()
    keys = make_keys(services)
    project = await asyncio.to_thread(compiled_readme, typescript, tmp_path / "project")
    seen: list[tuple[RequestContext, float, TraceContext | None]] = []

    async def get_product(request: GetProduct) -> Product:
        context = current_context.get()
        seen.append((context, context.time_left_s(), current_trace.get()))
        return LAMP

    async def list_products(request: ListProducts) -> ProductPage:
        return ProductPage(data=[LAMP], total=1, skip=0, limit=request.limit)

    handlers: Handlers = {GetProduct: get_product, ListProducts: list_products}
    async with (
        rabbit_under_test(vhosts, definitions(services), tmp_path) as broker,
        serving(broker, keys["catalog"], handlers),
        calling(broker, keys["till"]) as till,
        telling(broker, keys["auth"]) as publisher,
    ):
        shop = files_of(keys["shop"], tmp_path / "shop", broker)
        called = await ended(await begin(project, "call", shop))

        hearing = await begin(project, "listen", shop)
        failed = LoginFailed(user_id=None, reason="unknown_user", at=0, client_network=None)
        await publisher.publish(
            "event", failed.name, failed.as_json, message_id="m", correlation_id="c"
        )
        assert hearing.stdout is not None
        heard = await asyncio.wait_for(hearing.stdout.readline(), TIMEOUT_S)
        hearing.terminate()
        await ended(hearing)

        files = files_of(keys["prices"], tmp_path / "prices", broker)
        quoting = await begin(project, "serve", files)
        user = access_token(keys["till"], keys["auth"].identity)
        token = current_trace.set(TraceContext(TRACE))
        quote = await till.call(QuotePrice(product_id=7), user=user, correlation_id="c:1")
        current_trace.reset(token)
        quoting.terminate()
        await ended(quoting)

    assert called == "7 Lamp 12.5\n"
    assert heard == b"failed to sign in: unknown_user\n"
    assert quote == Quote(product_id=7, total=25.0)
    ((context, time_left_s, trace),) = seen
    assert (context.caller, context.correlation_id) == ("prices", "c:1")
    assert context.user is not None
    assert context.user.text == user.text
    assert time_left_s < QuotePrice.timeout_s < GetProduct.timeout_s
    assert trace is not None
    assert trace.trace_id == TraceContext(TRACE).trace_id


def compiled_readme(typescript: Workspace, project: Path) -> Path:
    """Make a project of what the README shows, beside a module of a team's own contracts."""
    project.mkdir()
    for name in ("package.json", "tsconfig.json"):
        shutil.copy2(typescript.example / name, project)
    (project / "node_modules").symlink_to(typescript.example / "node_modules")
    (project / "asyncapi.json").write_text(json.dumps(prices.document()))
    shown = re.findall(r"^```ts\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    for name, text in zip(("call", "listen", "serve"), shown, strict=True):
        (project / f"{name}.ts").write_text(text)
        assert 8 <= len(text.splitlines()) <= 14
    contracts = ("node_modules/.bin/postroad-contracts", "asyncapi.json", "contracts.ts")
    for step in (contracts, TSC):
        done = command(*step, cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
    return project
