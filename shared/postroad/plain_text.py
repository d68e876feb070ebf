"""What others wrote, made harmless to a terminal and to a line of a log."""

import json


def plain(text: str) -> str:
    """Return a text on one line, with an escape for each character that is not printed.

    The escapes are JSON's, such as ``\\u001b``: what was JSON stays it, and means the same.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def plain_lines(text: str) -> str:
    """Return a text as ``plain`` does, but in its own lines."""
    return "\n".join(map(plain, text.expandtabs().split("\n")))
