"""Python in which one may await, typed at a prompt or piped in."""

import ast
import asyncio
import inspect
import traceback
from asyncio import AbstractEventLoop
from code import InteractiveConsole
from collections.abc import Coroutine
from types import CodeType, FunctionType

from postroad.plain_text import plain_lines

_SCRIPT = "<stdin>"  # as Python names it


class Console(InteractiveConsole):
    """Runs Python; what awaits runs in an event loop, which belongs to another thread.

    So does ``python -m asyncio``, with the threads the other way round. Here the prompt has the
    main thread, where Ctrl-C arrives: it ends a line, a statement or an await. The loop goes on
    all the while, and with it whatever lives there, such as a connection and its heartbeats.
    """

    def __init__(
        self, namespace: dict[str, object], loop: AbstractEventLoop, *, expected: type[Exception]
    ) -> None:
        """Make a console; ``expected`` errors are shown without a traceback."""
        super().__init__(namespace)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._namespace = namespace
        self._loop = loop
        self._expected = expected
        self._has_failed = False
        self._statement: asyncio.Task[object] | None = None  # the last that awaited

    def run_script(self, source: str) -> int:
        """Run a whole program; return 1 if an exception ended it, which is shown, and else 0."""
        self.filename = _SCRIPT
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        try:
            code = compile(source, _SCRIPT, "exec", flags, dont_inherit=True)
        except (SyntaxError, ValueError) as error:  # ValueError: a null byte, until Python 3.11.4
            self._show(error)
        else:
            self.runcode(code)
        return int(self._has_failed)

    def runcode(self, code: CodeType) -> None:
        """Run what was compiled; show the exception that ends it."""
        try:
            self._run(code)
        except (KeyboardInterrupt, SystemExit):  # they end the line, or the shell
            raise
        except BaseException as error:  # noqa: BLE001  # whatever one's own code raises
            self._show(error)

    def _run(self, code: CodeType) -> None:
        result = FunctionType(code, self._namespace)()
        if not code.co_flags & inspect.CO_COROUTINE:
            return
        try:
            ending = asyncio.run_coroutine_threadsafe(self._ending(result), self._loop)
            error = ending.result()
        except KeyboardInterrupt:  # ending.cancel() would miss what came before it had begun
            asyncio.run_coroutine_threadsafe(self._cancel(), self._loop)
            raise
        if error is not None:
            raise error

    async def _ending(self, statement: Coroutine[object, object, object]) -> BaseException | None:
        """Run a statement, and return what ended it: SystemExit, say, would end the loop."""
        self._statement = asyncio.current_task()
        try:
            await statement
        except BaseException as error:  # noqa: BLE001  # raised where the statement was typed
            return error
        return None

    async def _cancel(self) -> None:
        if self._statement is not None:
            self._statement.cancel()

    def _show(self, error: BaseException) -> None:
        """Show an error as Python does, but not how its own code came to be run."""
        self._has_failed = True
        way = error.__traceback__
        while way is not None and way.tb_frame.f_code.co_filename != self.filename:
            way = way.tb_next
        if not isinstance(error, self._expected):
            self.write("".join(traceback.format_exception(error.with_traceback(way))))
            return
        where = f"line {way.tb_lineno}: " if way and self.filename == _SCRIPT else ""
        self.write(f"{where}{type(error).__name__}: {plain_lines(str(error))}\n")
