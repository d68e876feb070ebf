"""Which function handles a message, and what it is given besides."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, TypeGuard, get_type_hints

from ops.services.manifests import manifests
from postroad.contracts.base import Event, Job, Request


class NoTestPossible(Exception):
    """A dead letter can be made no test of; the message says why."""


Contract = type[Request[Any]] | type[Event] | type[Job]


@dataclass(frozen=True, slots=True)
class FoundHandler:
    """A handler: a function of a message, and of keyword arguments."""

    function: Callable[..., Any]
    contract: Contract
    needs: dict[str, object]  # types of what it is given besides the message, by parameter

    @property
    def contracts(self) -> list[Contract]:
        """All contracts of the module in which its own is."""
        module = inspect.getmodule(self.contract)
        found = (value for _, value in inspect.getmembers(module))
        return [
            each
            for each in found
            if _is_contract(each) and each.__module__ == self.contract.__module__
        ]


def find_handler(service: str, name: str, queue: str) -> FoundHandler:
    """Find what a program of ours does with a message.

    Raises:
        NoTestPossible: no module ``handlers`` of the service has a function of it.
    """
    modules = [
        program.module
        for each in manifests()
        if each.name == service
        for program in each.programs.values()
    ]
    modules.sort(key=lambda module: not queue.endswith(module.rpartition(".")[2]))
    for module in modules:
        for handler in _handlers_in(import_module(f"{module}.handlers")):
            if name_of(handler.contract) == name:
                return handler
    raise NoTestPossible(
        f"no handler here is for {name}, which died in {queue}; name it: --handler MODULE:FUNCTION"
    )


def load_handler(place: str) -> FoundHandler:
    """Import the handler that an argument names.

    Raises:
        NoTestPossible: there is none.
    """
    module, _, name = place.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise NoTestPossible(
            f"no handler {place}: {error}; PYTHONPATH may lack its folder"
        ) from None
    handler = _handler(function)
    if handler is None:
        raise NoTestPossible(f"{place} is not a handler: its first parameter must be a contract")
    return handler


def name_of(contract: Contract) -> str:
    return contract.method if issubclass(contract, Request) else contract.name


def _handlers_in(module: ModuleType) -> Iterator[FoundHandler]:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        handler = None if name.startswith("_") else _handler(function)
        if handler is not None and function.__module__ == module.__name__:
            yield handler


def _handler(function: object) -> FoundHandler | None:
    if not inspect.isfunction(function):
        return None
    parameters = list(inspect.signature(function).parameters.values())
    types = get_type_hints(function)
    contract = types.get(parameters[0].name) if parameters else None
    if not _is_contract(contract):
        return None
    needs = {
        each.name: types.get(each.name, object)
        for each in parameters[1:]
        if each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    return FoundHandler(function, contract, needs)


def _is_contract(value: object) -> TypeGuard[Contract]:
    return (
        inspect.isclass(value)
        and issubclass(value, Request | Event | Job)
        and isinstance(getattr(value, "service", None), str)  # one that is not abstract
    )
