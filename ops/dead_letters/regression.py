"""A dead letter as a test: a pytest that hands its handler the same message, in memory."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops.dead_letters.handler_search import (
    Contract,
    FoundHandler,
    NoTestPossible,
    name_of,
)
from ops.dead_letters.redaction import MADE_UP
from ops.dead_letters.stand_ins import STAND_INS, StandIn
from ops.scaffold.python_source import call, imports, literal
from ops.services.manifests import events, jobs, our_services, requests
from postroad.contracts.base import Job, Message, Request
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing
from postroad.topology.services import Services, key_pattern, load_services

_IN = "    "


@dataclass(frozen=True, slots=True)
class Case:
    """What a test is to be made of."""

    handler: FoundHandler
    service: str  # whose queue it died in
    queue: str
    sender: str  # who signed it
    message_id: str
    died_at: float | None
    body: object  # without secrets
    services_file: Path | None  # none: our own services, by their manifests


class GeneratedTest:
    """The text of a test.

    Raises:
        NoTestPossible: nobody may send the message.
        ServicesFileError: the file of services cannot be read, or is wrong.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._contract = case.handler.contract
        self._function = case.handler.function
        self._own = [] if _is_registered(self._contract) else case.handler.contracts
        self._services = (
            our_services()
            if case.services_file is None
            else load_services(case.services_file, self._own)
        )
        self._sender = _sender(self._contract, case.sender, self._services)
        self._imports: dict[str, set[str]] = defaultdict(set)
        self._stand_ins: dict[str, StandIn] = {}
        self._fixtures: dict[str, str] = {}  # the test's own parameters, with their types
        self._arguments: list[str] = []
        self._needs_client = False

    def text(self) -> str:
        """Write it."""
        self._bind()
        body = [*self._constants(), "", "", *self._keys_fixture(), *self._other_fixtures()]
        body += ["", "", *self._test()]
        head = [*self._docstring(), "", *imports(["pytest"], self._imports), ""]
        return "\n".join([*head, *body]) + "\n"

    def _docstring(self) -> Iterator[str]:
        case = self._case
        when = f", of {datetime.fromtimestamp(case.died_at, UTC):%Y-%m-%d}" if case.died_at else ""
        yield f'"""What {name_of(self._contract)} failed on.'
        yield ""
        yield f"Dead letter {case.message_id}{when}; secrets and users are made up."
        yield '"""'

    def _bind(self) -> None:
        """Find what the handler is given, and import it."""
        for name, needed in self._case.handler.needs.items():
            if needed is KeyRing:
                self._arguments.append(f'{name}=keys["{self._case.service}"]')
                continue
            self._arguments.append(f"{name}={name}")
            if needed is Client:
                self._arguments[-1] = f"{name}=client"
                self._needs_client = True
                continue
            self._fixtures[name] = self._stand_in(name, needed)

    def _stand_in(self, name: str, needed: object) -> str:
        """Note the fixtures for what a handler is given; return the type of the last."""
        known = STAND_INS.get(self._known_as(needed)) or self._unknown(name, needed)
        for part in known.whole():
            self._stand_ins[part.code] = part
            for place in part.imports:
                self._import(*place.split(":"))
        return known.type_name or getattr(needed, "__name__", "object")

    def _known_as(self, needed: object) -> str:
        if getattr(needed, "__name__", "") == "Database":
            return f"{self._function.__module__.partition('.')[0].removesuffix('_worker')}_database"
        return f"{getattr(needed, '__module__', '')}.{getattr(needed, '__qualname__', '')}"

    def _unknown(self, name: str, needed: object) -> StandIn:
        """Make a fixture for what nobody here knows: an empty one where that can be made."""
        kind, place = "object", ""
        if inspect.isclass(needed) and "." not in needed.__qualname__:
            kind, place = needed.__name__, f"{needed.__module__}:{needed.__name__}"
        made = f'raise NotImplementedError("return the {name} of {self._function.__name__}")'
        if inspect.isclass(needed) and place and _is_made_of_nothing(needed):
            made = f"return {kind}()"
        code = f"@pytest.fixture\ndef {name}() -> {kind}:\n{_IN}{made}\n"
        imported = (place,) if place and not place.startswith("builtins:") else ()
        return StandIn(code, imported, type_name=kind)

    def _constants(self) -> Iterator[str]:
        self._import("pathlib", "Path")
        own = ""
        if self._own:
            for contract in self._own:
                self._import(contract.__module__, contract.__name__)
            own = f", [{', '.join(each.__name__ for each in self._own)}]"
            yield "pytestmark = pytest.mark.asyncio"
            yield ""
        if self._case.services_file is None:
            self._import("postroad.topology.manifest", "find_services")
            yield "SERVICES = find_services(Path())"
        else:
            self._import("postroad.topology.services", "load_services")
            path = literal(self._case.services_file.as_posix())
            yield from call("SERVICES = load_services(", [f"Path({path}){own}"], ")")
        if MADE_UP in literal(self._case.body):
            yield "# Where it says made-up was a secret; seal another if the handler opens it."
        yield f"BODY = {literal(self._case.body, before=len('BODY = '))}"

    def _keys_fixture(self) -> Iterator[str]:
        self._import("postroad.security.keyring", "KeyRing")
        yield "@pytest.fixture"
        yield "def keys() -> dict[str, KeyRing]:"
        yield f"{_IN}return make_keys(SERVICES)"

    def _other_fixtures(self) -> Iterator[str]:
        for code in self._stand_ins:
            yield from ("", "", *code.rstrip("\n").split("\n"))

    def _test(self) -> Iterator[str]:
        contract, function = self._contract, self._function
        self._import(contract.__module__, contract.__name__)
        self._import(function.__module__, function.__name__)
        for name in ("MemoryBroker", "make_keys", "raising_bugs", "read_body"):
            self._import("postroad.testing", name)
        self._import("postroad.topology.definitions", "definitions")
        identity = re.sub(r"\W", "", self._case.message_id)[-12:]
        title = f"async def test_{function.__name__}_handles_dead_letter_{identity}("
        given = ["keys: dict[str, KeyRing]"]
        given += [f"{name}: {kind}" for name, kind in self._fixtures.items()]
        yield from call(title, given, ") -> None:")
        yield f"{_IN}broker = MemoryBroker(definitions(SERVICES))"
        yield f"{_IN}message = read_body({contract.__name__}, BODY)"
        if issubclass(contract, Request):
            yield from self._request(contract)
        else:
            yield from self._work()

    def _running(self, runs: str, *arguments: str, bound: str = "") -> tuple[list[str], list[str]]:
        """Write what runs the handler, and what has to stand before it."""
        keys, name = f'keys["{self._case.service}"]', self._function.__name__
        self._import("postroad.testing", runs)
        bind: list[str] = []
        handler = name
        if self._arguments:
            self._import("functools", "partial")
            handler = f"partial({', '.join([name, *self._arguments])})"
        given = ["broker", keys, *arguments]
        lines = self._entry(runs, given, handler, bound)
        if len(lines) > 1 and self._arguments and not self._needs_client:
            bind = list(call("handler = partial(", [name, *self._arguments], ")", _IN))
            lines = self._entry(runs, given, "handler", bound)
        if self._needs_client:  # it is running before
            self._import("postroad.testing", "calling")
            lines.insert(0, f"{_IN * 2}calling(broker, {keys}) as client,  # serve what it asks")
        return bind, lines

    def _entry(self, runs: str, given: list[str], handler: str, bound: str) -> list[str]:
        items = [*given, f"{{{self._contract.__name__}: {handler}}}"]
        return list(call(f"{runs}(", items, f"){bound},", _IN * 2))

    def _request(self, contract: type[Request[Message]]) -> Iterator[str]:
        user = self._user(contract)
        self._import("postroad.testing", "calling")
        self._import(contract.reply.__module__, contract.reply.__name__)
        bind, running = self._running("serving")
        yield from [*user, *bind, "", f"{_IN}async with (", f"{_IN * 2}raising_bugs(),", *running]
        yield f'{_IN * 2}calling(broker, keys["{self._sender}"]) as caller,'
        yield f"{_IN}):"
        indent = _IN * 2
        if contract.errors:
            self._import("contextlib", "suppress")
            for error in contract.errors:
                self._import(error.__module__, error.__name__)
            errors = [error.__name__ for error in contract.errors]
            yield from call("with suppress(", errors, "):  # answers, too", indent)
            indent += _IN
        yield f"{indent}reply = await caller.call(message{', user=user' if user else ''})"
        yield f"{indent}assert isinstance(reply, {contract.reply.__name__})"

    def _user(self, contract: type[Request[Message]]) -> list[str]:
        """Make a user up, where the call is to be in one's name."""
        acts = self._services.root[self._sender].acts_for_users and contract.scope is not None
        issuers = [name for name, each in self._services.root.items() if each.issues_tokens]
        if not (acts or contract.needs_user) or not issuers:
            return []
        self._import("postroad.testing", "access_token")
        given = [f'keys["{self._sender}"]', f'keys["{issuers[0]}"].identity']
        given += [f"scope={literal(contract.scope)}"] if contract.scope else []
        return list(call("user = access_token(", given, ")", _IN))

    def _work(self) -> Iterator[str]:
        for name in ("eventually", "send"):
            self._import("postroad.testing", name)
        queue = literal(self._case.queue.split(".")[-1])
        bind, running = self._running("working", queue, bound=" as worker")
        yield from [*bind, "", f"{_IN}async with (", f"{_IN * 2}raising_bugs(),", *running]
        yield f"{_IN}):"
        yield f'{_IN * 2}await send(broker, keys["{self._sender}"], message)'
        yield f"{_IN * 2}await eventually(lambda: worker.settled)"
        yield f'{_IN * 2}assert worker.settled == {{(message.name, "done"): 1}}'

    def _import(self, module: str, name: str) -> None:
        self._imports[module].add(name)


def _sender(contract: Contract, signed: str, services: Services) -> str:
    """Return who may send it: who did, if it has the right, or else the first that may."""
    right = "calls" if issubclass(contract, Request) else "publishes"
    right = "enqueues" if issubclass(contract, Job) else right
    name = name_of(contract)
    may = [
        service
        for service, has in services.root.items()
        if any(re.fullmatch(key_pattern(each), name) for each in getattr(has, right))
    ]
    if not may:
        raise NoTestPossible(f"no service may send {name}: none has it in its {right}")
    return signed if signed in may else may[0]


def _is_registered(contract: Contract) -> bool:
    return contract in {*requests().values(), *events().values(), *jobs().values()}


def _is_made_of_nothing(kind: type) -> bool:
    """Find out whether a class can be made without arguments; a protocol cannot be made at all."""
    if getattr(kind, "_is_protocol", False) or inspect.isabstract(kind):
        return False
    try:
        inspect.signature(kind).bind()
    except (TypeError, ValueError):
        return False
    return True
