"""`postroad shell`: a Python prompt with a connected client and all contracts that it may use."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from asyncio import AbstractEventLoop
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from textwrap import shorten
from threading import Thread

from ops.commands.arguments import add_state_argument, read_argument
from ops.commands.caller import add_caller_arguments, read_user
from ops.commands.errors import CommandError
from ops.services.manifests import events, requests
from ops.services.operator import settings_as
from ops.state.folder import StateFolder
from ops.terminal.console import Console
from ops.terminal.logs import hide_logs
from postroad.contracts import errors
from postroad.contracts.catalog import ListProducts
from postroad.contracts.errors import ServiceError
from postroad.contracts.message import Message
from postroad.messaging.client import Client
from postroad.runtime.connect import connect, listen
from postroad.security.access_tokens import AccessToken
from postroad.security.keys import TrustBundle, TrustedService
from postroad.settings import MessagingSettings

EXAMPLES = """\
examples:
  postroad shell
  postroad shell --as shop
  echo 'print((await call(ListProducts())).total)' | postroad shell
"""
BANNER = """\
Postroad, as {who}{whether}. {example}
names: call, listen, client, token, errors, asyncio
{requests}
{events}
Tab completes names and a contract's fields. Ctrl-C ends what runs, Ctrl-D ends the shell."""
_WIDTH = 100
_Contracts = Mapping[str, type[Message]]


def add_arguments(parser: ArgumentParser) -> None:
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    add_caller_arguments(parser, "call for the user whose access token is in this file")
    add_state_argument(parser)


def run(options: Namespace) -> int:
    """Run what is typed, or what the standard input holds; give the exit status."""
    hide_logs()
    if options.token_file == "-":  # noqa: S105
        raise CommandError("the standard input is what is run: give --token-file a file")
    state = StateFolder(options.state)
    settings = settings_as(state, options.service)
    user = read_user(options.token_file, settings) if options.token_file else None
    rights = TrustBundle.load(state.trust_file).services[options.service]
    script = None if sys.stdin.isatty() else read_argument("-")
    with _connected(settings) as (client, loop):
        namespace = _namespace(client, settings, user, rights)
        console = Console(namespace, loop, expected=ServiceError)
        if script is not None:
            return console.run_script(script)
        from ops.terminal import completion  # noqa: PLC0415  # readline is for a prompt alone

        completion.install(namespace)
        who = f"{options.service} for {user.username}" if user else options.service
        console.interact(_banner(who, rights, is_connected=client.is_connected), exitmsg="")
    return 0


@contextmanager
def _connected(settings: MessagingSettings) -> Iterator[tuple[Client, AbstractEventLoop]]:
    """Connect a client in the event loop of a thread, until the context is left."""
    loop, over, connection = asyncio.new_event_loop(), asyncio.Event(), AsyncExitStack()

    def go_on() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # cancels what is left
            runner.run(over.wait())

    thread = Thread(target=go_on, name="postroad shell", daemon=True)
    thread.start()
    try:
        connecting = connection.enter_async_context(connect(settings))
        yield asyncio.run_coroutine_threadsafe(connecting, loop).result(), loop
    finally:
        asyncio.run_coroutine_threadsafe(connection.aclose(), loop).result()
        loop.call_soon_threadsafe(over.set)
        thread.join()


def _requests(rights: TrustedService) -> _Contracts:
    return {each.__name__: each for name, each in requests().items() if rights.may_call(name)}


def _events(rights: TrustedService) -> _Contracts:
    return {each.__name__: each for name, each in events().items() if rights.may_hear(name)}


def _namespace(
    client: Client, settings: MessagingSettings, user: AccessToken | None, rights: TrustedService
) -> dict[str, object]:
    return {
        "__name__": "__main__",
        "asyncio": asyncio,
        "call": partial(client.call, user=user),
        "client": client,
        "errors": errors,
        "listen": partial(listen, settings=settings),
        "token": user,
        **_requests(rights),
        **_events(rights),
    }


def _banner(who: str, rights: TrustedService, *, is_connected: bool) -> str:
    requests, events = _requests(rights), _events(rights)
    return BANNER.format(
        who=who,
        whether="" if is_connected else ", once the broker answers",
        example=_example(requests, events),
        requests=_listed("requests", requests),
        events=_listed("events", events),
    )


def _example(requests: _Contracts, events: _Contracts) -> str:
    """Write a line that runs as it is, if there is one."""
    if ListProducts.__name__ in requests:
        return "Try: await call(ListProducts(limit=2))"
    for name, contract in requests.items():
        if not any(field.is_required() for field in contract.model_fields.values()):
            return f"Try: await call({name}())"
    for name in events:
        return f"Try: async with listen({name}) as heard: print(await anext(heard))"
    return ""


def _listed(kind: str, names: Iterable[str]) -> str:
    return shorten(f"{kind}: {', '.join(names) or 'none'}", _WIDTH, placeholder=" …")
