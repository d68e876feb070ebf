"""What an extra of the library brings, and what a process says that lacks it."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Raise an error that names the extra to install, where an import inside fails.

    with needs("worker"):
        import uvloop
    """
    try:
        yield
    except ModuleNotFoundError as error:
        sentence = f"{error.name} is missing: pip install 'postroad[{extra}]'"
        raise ImportError(sentence, name=error.name) from None
