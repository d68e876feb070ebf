"""Python with await: how what is typed or piped in ends."""

import asyncio
import signal
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from threading import Event, Thread, main_thread

import pytest

from ops.terminal.console import Console
from postroad.contracts.errors import ProductNotFound, ServiceError

Captured = pytest.CaptureFixture[str]


async def find() -> None:
    raise ProductNotFound("no product \x1b[2J7")


@pytest.fixture(scope="module")
def loop() -> Iterator[AbstractEventLoop]:
    """An event loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def console(loop: AbstractEventLoop) -> Console:
    return Console({"asyncio": asyncio, "find": find}, loop, expected=ServiceError)


def test_what_is_typed_may_await_and_knows_what_was_typed_before(
    console: Console, capsys: Captured
) -> None:
    for line in ("import asyncio", "async def three():", "  return 3", "", "await three() + 1"):
        console.push(line)

    assert capsys.readouterr() == ("4\n", "")


def test_an_expected_error_that_was_typed_is_its_class_and_message(
    console: Console, capsys: Captured
) -> None:
    console.push("await find()")
    console.push("print('on')")

    assert capsys.readouterr() == ("on\n", "ProductNotFound: no product \\u001b[2J7\n")


@pytest.mark.parametrize("code", ["1 / 0", "await asyncio.sleep(1 / 0)"])
def test_another_error_is_shown_from_where_it_was_typed(
    console: Console, capsys: Captured, code: str
) -> None:
    console.push(code)

    first, second, *_, last = capsys.readouterr().err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert second == '  File "<console>", line 1, in <module>'
    assert last == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("code", ["exit(3)", "await asyncio.sleep(exit(3))"])
def test_exit_is_for_whoever_shows_the_prompt_and_the_loop_goes_on(
    console: Console, loop: AbstractEventLoop, code: str
) -> None:
    with pytest.raises(SystemExit):
        console.push(code.replace("exit(", "__import__('sys').exit("))

    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)


def test_ctrl_c_ends_an_await(console: Console, loop: AbstractEventLoop) -> None:
    ended = Event()

    async def wait() -> None:
        try:
            signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            ended.set()

    console = Console({"wait": wait}, loop, expected=ServiceError)
    with pytest.raises(KeyboardInterrupt):
        console.push("await wait()")

    assert ended.wait(10)


@pytest.mark.parametrize(
    ("source", "output", "last_line"),
    [
        ("", "", ""),
        ("for x in (1, 2):\n    await asyncio.sleep(0)\nprint(x)", "2\n", ""),
        ("x = 1\nawait find()", "", "line 2: ProductNotFound: no product \\u001b[2J7"),
        ("async def f(): 1 / 0\nawait f()", "", "ZeroDivisionError: division by zero"),
        ("raise asyncio.CancelledError", "", "asyncio.exceptions.CancelledError"),
        ("await asyncio.sleep(0); raise asyncio.CancelledError", "", "asyncio.exceptions.Can"),
        ("if x", "", "SyntaxError: expected ':'"),
        ("\0", "", "source code string cannot contain null bytes"),
    ],
)
def test_a_program_is_run_to_its_end(
    console: Console, capsys: Captured, source: str, output: str, last_line: str
) -> None:
    assert console.run_script(source) == bool(last_line)

    said = capsys.readouterr()
    lines = said.err.splitlines() or [""]
    assert said.out == output
    assert last_line in lines[-1]
    assert bool(said.err) == bool(last_line)
    assert not any("console.py" in line for line in lines)  # nothing of how it came to be run
