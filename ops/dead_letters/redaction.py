"""Cutting secrets out of a body of which a copy is kept elsewhere."""

import re

SECRET = re.compile(
    "password|token|secret|sealed|credential|signature|authorization", re.IGNORECASE
)
MADE_UP = "made-up"
_TOKEN = re.compile(r"[\w-]{10,}\.[\w-]*\.[\w-]{10,}")  # JWT, and a message's own signature


def without_secrets(value: object, *, is_secret: bool = False) -> object:
    """Return a body with made-up values in place of those that are, or look like, secrets."""
    match value:
        case dict():
            return {
                _TOKEN.sub(MADE_UP, name): without_secrets(
                    each, is_secret=is_secret or bool(SECRET.search(name))
                )
                for name, each in value.items()
            }
        case list():
            return [without_secrets(each, is_secret=is_secret) for each in value]
        case str():
            return MADE_UP if is_secret else _TOKEN.sub(MADE_UP, value)
        case bool() | None:
            return value
        case _:
            return 1 if is_secret else value
