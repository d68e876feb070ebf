"""The example for Node, run as its README says: npm's packages, the vectors, the real broker."""

import asyncio
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import pytest

from postroad.contracts.auth import CreateSession
from postroad.contracts.catalog import ListProducts, ProductPage
from postroad.contracts.errors import UpstreamBusy
from postroad.contracts.events import LoginSucceeded
from postroad.messaging.publishing import MessagePublisher
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Signer, Verifier
from postroad.testing import eventually, serving
from postroad.topology.names import REPLIES_EXCHANGE, rpc_queue
from tests.integration.direct.conftest import ServiceFiles
from tests.integration.test_tls import ByTls, TlsNode
from tests.support.brokers import RabbitUnderTest
from tests.support.services import LAMP, SESSION, sign_in
from tests.support.traffic import consuming, publish, publishing

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "node"
VECTORS = ROOT / "tests" / "vectors"
TIMEOUT_S = 30.0
INSTALL_TIMEOUT_S = 100.0
NODE_MAJOR = 20

node_major = 0
if node := shutil.which("node"):
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    node_major = int(version.lstrip("v").partition(".")[0])

needs_node = pytest.mark.skipif(node_major < NODE_MAJOR, reason=f"needs Node {NODE_MAJOR}")
needs_npm = pytest.mark.skipif(
    node_major < NODE_MAJOR or not shutil.which("npm"), reason=f"needs Node {NODE_MAJOR} and npm"
)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, in a folder of its own."""
    folder = tmp_path_factory.mktemp("example") / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        install, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@asynccontextmanager
async def script(folder: Path, *arguments: str, files: ServiceFiles) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *("node", *arguments), cwd=folder, env=files.with_others(), stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(folder: Path, *arguments: str, files: ServiceFiles) -> tuple[int, str, str]:
    async with script(folder, *arguments, files=files) as process:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        return process.returncode or 0, output.decode(), errors.decode()


def check_vectors(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", str(EXAMPLE / "check-vectors.js"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@needs_node
def test_it_speaks_the_protocol_of_the_vectors() -> None:
    checked = check_vectors(VECTORS)

    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.endswith("checks passed\n")
    assert checked.stdout in (EXAMPLE / "README.md").read_text()


@needs_node
@pytest.mark.parametrize("file", ["pair_keys", "accepted", "refused", "sealed"])
def test_its_check_of_the_vectors_can_fail(tmp_path: Path, file: str) -> None:
    shutil.copytree(VECTORS, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / f"{file}.json").read_text())
    changed = {
        "pair_keys": lambda: content[0].update(key=content[1]["key"]),
        "accepted": lambda: content[-1].update(body="{}"),
        "refused": lambda: content[-1].update(signature=None),
        "sealed": lambda: content.update(secret="another"),
    }
    changed[file]()
    (tmp_path / f"{file}.json").write_text(json.dumps(content))

    assert check_vectors(tmp_path).returncode == 1


@pytest.mark.integration
@needs_npm
async def test_it_calls_a_service(
    example: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], shop: ServiceFiles
) -> None:
    asked: list[ListProducts] = []

    async def list_products(request: ListProducts) -> ProductPage:
        asked.append(request)
        lamp = LAMP.model_copy(update={"title": "Stehlampe, weiß"})
        return ProductPage(data=[lamp], total=1, skip=0, limit=request.limit)

    async with serving(rabbit_broker, keys["catalog"], {ListProducts: list_products}):
        status, output, errors = await run(example, "list-products.js", "3", files=shop)

    assert (status, output, errors) == (0, "7\t12.5\tStehlampe, weiß\n", "")
    assert asked == [ListProducts(limit=3)]


@pytest.mark.integration
@needs_npm
async def test_it_says_which_error_a_service_answered(
    example: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], shop: ServiceFiles
) -> None:
    async def refuse(request: ListProducts) -> ProductPage:
        raise UpstreamBusy("later, please")

    async with serving(rabbit_broker, keys["catalog"], {ListProducts: refuse}):
        status, output, errors = await run(example, "list-products.js", files=shop)

    assert (status, output, errors) == (1, "", "upstream_busy: later, please\n")


CALL_WHAT_IS_NOT_GRANTED = """\
import { connect } from './postroad.js'

const client = await connect()
await client.call('auth.revocations.list').catch((error) => console.log(error.code, error.message))
const page = await client.call('catalog.products.list')
console.log(page.total)
await client.close()
"""


@pytest.mark.integration
@needs_npm
async def test_its_call_that_was_not_granted_takes_no_other_along(
    example: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], shop: ServiceFiles
) -> None:
    async def list_products(request: ListProducts) -> ProductPage:
        return ProductPage(data=[LAMP], total=1, skip=0, limit=request.limit)

    (example / "forbidden.js").write_text(CALL_WHAT_IS_NOT_GRANTED)
    async with serving(rabbit_broker, keys["catalog"], {ListProducts: list_products}):
        status, output, errors = await run(example, "forbidden.js", files=shop)

    said = "not_authorised shop may not call auth.revocations.list\n1\n"
    assert (status, output, errors) == (0, said, "")


@pytest.mark.integration
@needs_npm
async def test_it_takes_the_honest_reply_and_no_other(
    example: Path, rabbit_broker: RabbitUnderTest, keys: dict[str, KeyRing], shop: ServiceFiles
) -> None:
    def page(title: str) -> bytes:
        product = LAMP.model_copy(update={"title": title})
        return ProductPage(data=[product], total=1, skip=0, limit=1).model_dump_json().encode()

    async with (
        consuming(rabbit_broker, "catalog", rpc_queue("catalog")) as requests,
        script(example, "list-products.js", files=shop) as process,
    ):
        request = await asyncio.wait_for(requests.next(), TIMEOUT_S)
        claims = Verifier(keys["catalog"]).verify(
            (request.properties.headers or {})["signature"], request.body, typ="request"
        )
        for sender, signed, sent, changes in (
            ("auth", page("By another service"), page("By another service"), {}),
            ("catalog", page("As signed"), page("Changed"), {}),
            ("catalog", page("To another request"), page("To another request"), {"jti": "other"}),
            ("catalog", page("To another method"), page("To another method"), {"op": "other"}),
            ("catalog", page("Honest"), page("Honest"), {}),
            ("catalog", page("A second time"), page("A second time"), {}),
        ):
            signature = Signer(keys[sender]).reply(
                claims.model_copy(update=changes), body=signed, message_id="m"
            )
            address = request.properties.reply_to or ""
            headers = {"signature": signature}
            await publish(rabbit_broker, sender, REPLIES_EXCHANGE, address, sent, headers=headers)
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        request.ack()

    assert output == b"7\t12.5\tHonest\n"
    assert errors == b"postroad: a reply was refused: bad_signature\n"


@pytest.mark.integration
@needs_npm
@pytest.mark.parametrize(
    ("arguments", "changes", "said"),
    [
        (
            ["list-products.js"],
            {"TRUST_FILE": "", "BROKER_URLS": ""},
            "postroad: not set: BROKER_URLS, TRUST_FILE\n",
        ),
        (
            ["list-products.js"],
            {"BROKER_URLS": "amqp://localhost:1/x, amqp://127.0.0.1:1/x"},
            "postroad: cannot connect to the broker: amqp://localhost:1/x: connect ECONNREFUSED ",
        ),
        (
            ["list-products.js"],
            {"TRUST_FILE": "/nowhere"},
            "postroad: ENOENT: no such file or directory, ",
        ),
        (
            ["listen.js", "auth.login.*", "catalog.*"],
            {},
            "not_authorised: shop may not listen to catalog.*, but to: auth.*\n",
        ),
    ],
)
async def test_what_keeps_it_from_its_work_is_one_sentence(
    example: Path, shop: ServiceFiles, arguments: list[str], changes: dict[str, str], said: str
) -> None:
    files = ServiceFiles(shop.environment | changes)

    status, output, errors = await run(example, *arguments, files=files)

    assert (status, output) == (1, "")
    assert errors.startswith(said)
    assert len(errors.splitlines()) == 1


@pytest.fixture
async def tls_node(tmp_path: Path) -> AsyncIterator[TlsNode]:
    node = TlsNode(tmp_path)
    await node.broker.start()
    yield node
    node.broker.kill()


SIGN_IN_BY_TLS = """\
import { connect } from './postroad.js'

const client = await connect()
const session = await client.call('auth.sessions.create', { username: 'x', sealed_password: 'x' })
console.log(session.access_token)
await client.close()
"""


@pytest.mark.integration
@needs_npm
async def test_it_calls_by_mutual_tls(
    example: Path, tls_node: TlsNode, keys: dict[str, KeyRing], shop: ServiceFiles
) -> None:
    own = tls_node.folder / "bridge"
    keys["bridge"].identity.save(own / "identity.json")
    certificate = {
        "BROKER_CERTIFICATE_FILE": str(own / "certificate.pem"),
        "BROKER_KEY_FILE": str(own / "key.pem"),
    }
    without = ServiceFiles(
        shop.environment
        | {
            "BROKER_URLS": f"amqps://127.0.0.1:{tls_node.port}/postroad",
            "IDENTITY_FILE": str(own / "identity.json"),
            "BROKER_CA_FILE": str(own / "ca.pem"),
        }
    )
    (example / "tls.js").write_text(SIGN_IN_BY_TLS)

    async with serving(ByTls(tls_node), keys["auth"], {CreateSession: sign_in}):
        answered = await run(
            example, "tls.js", files=ServiceFiles(without.environment | certificate)
        )
        refused = await run(example, "list-products.js", files=without)

    assert answered == (0, f"{SESSION.access_token}\n", "")
    assert refused[0] == 1
    assert "certificate required" in refused[2]


@pytest.mark.integration
@needs_npm
@pytest.mark.parametrize("right", ["auth.*", "auth.login.*", "auth.login.succeeded"])
async def test_it_hears_events_and_drops_forged_ones(
    example: Path,
    rabbit_broker: RabbitUnderTest,
    keys: dict[str, KeyRing],
    shop: ServiceFiles,
    right: str,
) -> None:
    event = LoginSucceeded(user_id=1, session_id="s", at=time(), client_network=None)
    body = event.model_dump_json().encode()
    async with (
        script(example, "listen.js", right, files=shop) as process,
        publishing(rabbit_broker, "auth") as publisher,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        heard = await asyncio.wait_for(process.stderr.readline(), TIMEOUT_S)
        assert heard.startswith(f"listening to {right};".encode())
        for signed_by, message_id in (("catalog", "forged"), ("auth", "honest")):
            events = MessagePublisher(publisher, keys[signed_by])
            events._service = "auth"  # the broker lets nobody name another user
            await events.publish(
                "event", event.name, body, message_id=message_id, correlation_id="c"
            )
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), TIMEOUT_S))
        dropped = await asyncio.wait_for(process.stderr.readline(), TIMEOUT_S)
        process.terminate()
        await eventually(lambda: process.returncode is not None, timeout_s=TIMEOUT_S)

    assert line == {
        "name": "auth.login.succeeded",
        "id": "honest",
        "from": "auth",
        "body": event.model_dump(),
    }
    assert dropped == b"postroad: an event was dropped: sender_mismatch\n"
    assert process.returncode == 0
