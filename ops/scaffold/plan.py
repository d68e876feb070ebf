"""What a new service is to have, and what its parts are called."""

import keyword
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self

Kind = Literal["method", "event", "job"]

_WORD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NAME_MAX = 20  # or lines become longer than 100 characters
_TAKEN = {"bridge", "operator", "ops", "postroad", "scaler", "shared", "tests", "upstream"}
_ROLES: dict[str, Literal["create", "get", "list"]] = {
    "create": "create",
    "get": "get",
    "find": "get",
    "list": "list",
}


class PlanError(Exception):
    """A name cannot be, or parts do not fit together; the message says which."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request, an event or a job of a service."""

    kind: Kind
    service: str
    noun: str
    verb: str

    @classmethod
    def parse(cls, kind: Kind, service: str, text: str) -> Self:
        """Read ``VERB`` or ``NOUN.VERB``; without a noun it is about the service's own things.

        Raises:
            PlanError: it is neither.
        """
        words = text.split(".")
        if len(words) == 1:
            words = [singular(service) if kind == "event" else service, *words]
        if len(words) != 2:
            raise PlanError(f"{kind} {text!r}: write VERB or NOUN.VERB, as in labels.print")
        for word in words:
            check_word(word, kind)
        return cls(kind, service, *words)

    @property
    def name(self) -> str:
        """The name on the wire."""
        return f"{self.service}.{self.noun}.{self.verb}"

    @property
    def class_name(self) -> str:
        """The name of the contract."""
        if self.kind == "event":
            return camel(self.noun, self.verb)
        return camel(self.verb, self.noun if self.verb == "list" else singular(self.noun))

    @property
    def function(self) -> str:
        """The name of the handler."""
        return re.sub(r"(?<!^)([A-Z])", r"_\1", self.class_name).lower()

    @property
    def role(self) -> Literal["create", "get", "list", "change"]:
        """What a method does, as far as its name tells."""
        if self.noun == self.service and self.verb in _ROLES:
            return _ROLES[self.verb]
        return "change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A service to be written.

    ``http``: each method has a route. Events and jobs are written in the transaction of their
    cause, so they need a database.
    """

    service: str
    messages: tuple[Message, ...]
    has_database: bool = False
    http: bool = False

    @classmethod
    def make(
        cls,
        service: str,
        *,
        methods: Iterable[str] = (),
        events: Iterable[str] = (),
        jobs: Iterable[str] = (),
        has_database: bool = False,
        http: bool = False,
    ) -> Self:
        """Check names, and put a plan together.

        Raises:
            PlanError: a name cannot be, or two are the same.
        """
        check_word(service, "service")
        if service in _TAKEN or service in sys.stdlib_module_names:
            raise PlanError(f"service {service!r}: this name is taken")
        given: list[tuple[Kind, Iterable[str]]] = [
            ("method", methods),
            ("event", events),
            ("job", jobs),
        ]
        messages = tuple(
            Message.parse(kind, service, text) for kind, texts in given for text in texts
        )
        plan = cls(service=service, messages=messages, has_database=has_database, http=http)
        plan.check()
        if plan.of("event") or plan.of("job"):
            plan = replace(plan, has_database=True)
        return plan

    def check(self) -> None:
        """Raise ``PlanError`` where two messages would have one name or one class."""
        if not self.of("method"):
            raise PlanError("a service needs a method: --method create")
        seen = {
            self.thing_class: "what the service answers with",
            f"{self.thing_class}List": "what the service answers with",
            f"{self.thing_class}NotFound": "its error",
        }
        for message in self.messages:
            if message.class_name in seen:
                raise PlanError(
                    f"{message.kind} {message.name}: its class would be {message.class_name}, "
                    f"as that of {seen[message.class_name]}"
                )
            seen[message.class_name] = message.name

    def of(self, kind: Kind) -> list[Message]:
        """Return the messages of a kind."""
        return [each for each in self.messages if each.kind == kind]

    @property
    def package(self) -> str:
        """The folder of the service's code."""
        return f"{self.service}_worker"

    @property
    def thing(self) -> str:
        """What the service is about, one of it."""
        return singular(self.service)

    @property
    def thing_class(self) -> str:
        """The class of what the service answers with."""
        return camel(self.thing)

    @property
    def keeper(self) -> str:
        """The class that keeps all things."""
        return camel(self.service if self.service != self.thing else f"{self.service}_store")

    @property
    def methods(self) -> list[Message]:
        return self.of("method")

    @property
    def events(self) -> list[Message]:
        return self.of("event")

    @property
    def jobs(self) -> list[Message]:
        return self.of("job")

    @property
    def sent(self) -> list[Message]:
        """What ``create`` sends: all events and jobs."""
        return [*self.events, *self.jobs]

    @property
    def tested(self) -> dict[str, Message]:
        """The first method of each role."""
        return {each.role: each for each in reversed(self.methods)}

    @property
    def creates(self) -> bool:
        return "create" in self.tested

    @property
    def lists(self) -> bool:
        return "list" in self.tested

    @property
    def changes(self) -> bool:
        return self.has_database and "change" in self.tested

    @property
    def finds(self) -> bool:
        """Whether a method may find nothing."""
        return self.has_database and bool({"get", "change"} & self.tested.keys())

    def reply(self, message: Message) -> str:
        """Return the class that a method answers with."""
        return f"{self.thing_class}List" if message.role == "list" else self.thing_class

    @property
    def classes_of_handlers(self) -> list[str]:
        """The contracts that handlers name."""
        handled = [each.class_name for each in [*self.methods, *self.jobs]]
        return list(dict.fromkeys([*handled, *map(self.reply, self.methods)]))

    def route(self, message: Message) -> tuple[str, str]:
        """Return the HTTP method and path of a method."""
        one = f"/{self.service}/{{{self.thing}_id}}"
        about = message.verb if message.noun == self.service else f"{message.noun}/{message.verb}"
        return {
            "create": ("POST", f"/{self.service}"),
            "get": ("GET", one),
            "list": ("GET", f"/{self.service}"),
            "change": ("POST", f"{one}/{about}"),
        }[message.role]


def check_word(word: str, kind: str) -> None:
    """Raise ``PlanError`` for a word that cannot be a name in Python, AMQP and SQL."""
    if not _WORD.fullmatch(word) or len(word) > _NAME_MAX:
        raise PlanError(
            f"{kind} {word!r}: use lower-case letters, digits and single underscores, "
            f"{_NAME_MAX} characters at most"
        )
    if keyword.iskeyword(word) or keyword.issoftkeyword(word):
        raise PlanError(f"{kind} {word!r}: this is a word of Python's own")


def singular(noun: str) -> str:
    """Return one of what a plural names, by its usual endings."""
    if noun.endswith("ies") and len(noun) > 4:
        return f"{noun[:-3]}y"
    if noun.endswith(("sses", "xes", "ches", "shes")):
        return noun[:-2]
    if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) and len(noun) > 2:
        return noun[:-1]
    return noun


def camel(*words: str) -> str:
    """Write words as a class's name."""
    return "".join(part.capitalize() for word in words for part in word.split("_"))
