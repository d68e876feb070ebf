"""What a docstring says, for the documents: a summary, and more."""

from inspect import cleandoc
from typing import NamedTuple


class Prose(NamedTuple):
    """A docstring in CommonMark."""

    summary: str
    more: str

    @property
    def description(self) -> str:
        """Return the whole text."""
        return f"{self.summary}\n\n{self.more}".strip()


def prose_of(documented: type) -> Prose:
    """Read the docstring of a message or an error."""
    text = cleandoc(documented.__doc__ or "").replace("``", "`")
    summary, _, more = text.partition("\n\n")
    return Prose(" ".join(summary.split()), more)
