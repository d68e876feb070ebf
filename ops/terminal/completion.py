"""Completing what is typed at a Python prompt."""

import re
import rlcompleter
from collections.abc import Callable

from postroad.contracts.message import Message

_WITHIN_A_CALL = re.compile(r"(\w+)\((?:[^()]*,)?\s*$")  # where an argument begins


def install(namespace: dict[str, object]) -> None:
    """Have Tab complete what is typed; some builds of Python cannot."""
    try:
        import readline  # noqa: PLC0415
    except ImportError:
        return
    readline.set_completer(Completer(namespace, readline.get_line_buffer).complete)
    is_libedit = "libedit" in (readline.__doc__ or "")  # on macOS
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")


class Completer(rlcompleter.Completer):
    """Completes names and, where an argument of a contract begins, its fields."""

    def __init__(self, namespace: dict[str, object], line: Callable[[], str]) -> None:
        super().__init__(namespace)
        self._contracts = {
            name: value
            for name, value in namespace.items()
            if isinstance(value, type) and issubclass(value, Message)
        }
        self._line = line

    def complete(self, text: str, state: int) -> str | None:
        """Return one completion after another, then none."""
        found = _WITHIN_A_CALL.search(self._line().removesuffix(text))
        if found is None or found[1] not in self._contracts:
            return super().complete(text, state)
        names = self._contracts[found[1]].model_fields
        fields = [f"{name}=" for name in names if name.startswith(text)]
        return fields[state] if state < len(fields) else None
