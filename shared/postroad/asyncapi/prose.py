"""What a contract's docstring says, in parts: a summary, more, and the errors it raises."""

import re
from inspect import cleandoc
from typing import NamedTuple

from postroad.contracts.base import Message

_RAISES = re.compile(r"^Raises:\n(?P<errors>(?:    .*\n?)+)", re.MULTILINE)
_ERROR = re.compile(r"^    (?P<name>\w+): (?P<when>.*(?:\n {5,}.*)*)", re.MULTILINE)


class Prose(NamedTuple):
    """A docstring in CommonMark; ``raises`` gives when each error comes, by its class's name."""

    summary: str
    more: str
    raises: dict[str, str]

    @property
    def description(self) -> str:
        """Give all but the errors."""
        return f"{self.summary}\n\n{self.more}".strip()


def prose_of(message: type[Message]) -> Prose:
    """Read a message's docstring."""
    text = cleandoc(message.__doc__ or "").replace("``", "`")
    section = _RAISES.search(text + "\n")
    raises = {
        error["name"]: " ".join(error["when"].split())
        for error in _ERROR.finditer(section["errors"] if section else "")
    }
    summary, _, more = _RAISES.sub("", text + "\n").strip().partition("\n\n")
    return Prose(" ".join(summary.split()), more, raises)
