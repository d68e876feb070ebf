"""Small pieces of HTML: everything that is put into them is escaped."""

import json
import re
from html import escape

_TOKEN = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)"
)


def prose(text: str, style: str = "") -> str:
    """Render paragraphs of CommonMark, as far as docstrings use it."""
    opening = f'<p class="{style}">' if style else "<p>"
    return "".join(f"{opening}{inline(each)}</p>" for each in text.split("\n\n") if each)


def inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def breakable(name: str) -> str:
    """Let a dotted name break after its dots."""
    return escape(name).replace(".", ".<wbr>")


def as_json(value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    parts, position = [], 0
    for match in _TOKEN.finditer(text):
        parts.append(escape(text[position : match.start()], quote=False))
        parts.append(f'<span class="{match.lastgroup}">{escape(match[0], quote=False)}</span>')
        position = match.end()
    parts.append(escape(text[position:], quote=False))
    return f"<pre><code>{''.join(parts)}</code></pre>"
