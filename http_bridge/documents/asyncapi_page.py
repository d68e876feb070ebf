"""The page at ``/docs/messages``: an AsyncAPI document of ours, to be read by people."""

import json
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from http_bridge.documents.html import as_json, breakable, inline, prose
from postroad.asyncapi.document import describe_error
from postroad.contracts.errors import OutcomeUnknown, Overloaded, ReplyTimeout, Unavailable

Document = dict[str, Any]

_KINDS = {"request": "Requests", "event": "Events", "job": "Jobs"}
_MADE_BY_THE_CALLER = (Unavailable, Overloaded, ReplyTimeout, OutcomeUnknown)
_PROBLEM = "Problem"
_RANGES = {
    ("minimum", "maximum"): "",
    ("exclusiveMinimum", "exclusiveMaximum"): ", both excluded",
    ("minLength", "maxLength"): " characters",
    ("minItems", "maxItems"): " items",
}
_FORMS = ("pattern", "format")


def messages_page(document: Document) -> str:
    """Render the page; it needs its style sheet and nothing else."""
    return _PAGE.format(
        version=escape(document["info"]["version"]),
        navigation="".join(_navigation(document)),
        about=prose(document["info"]["description"]),
        security=prose(document["components"]["securitySchemes"]["broker_user"]["description"]),
        caller_errors=_errors(map(describe_error, _MADE_BY_THE_CALLER)),
        content="".join(_sections(document)),
        types="".join(_types(document)),
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Postroad: messages</title>
<link rel="stylesheet" href="/docs/messages.css">
</head>
<body>
<header>
<h1>Postroad <span>messages</span></h1>
<p class="links"><a href="/docs">HTTP API</a> <a href="/asyncapi.json">AsyncAPI document</a>
<span class="version">{version}</span></p>
</header>
<nav aria-label="Messages"><details open><summary>All messages</summary>
{navigation}</details></nav>
<main>
<section id="about">
{about}
<h2>Who may send</h2>
{security}
<h2>How any call may end</h2>
<p>Besides its own errors, which come as a reply, a call may end at the caller, without one:</p>
{caller_errors}
</section>
{content}
<section id="types">
<h2>Types</h2>
{types}
</section>
</main>
</body>
</html>
"""


def _navigation(document: Document) -> Iterator[str]:
    for kind, title in _KINDS.items():
        links = "".join(
            f'<li><a href="#{escape(name)}">{breakable(name)}</a></li>'
            for name in _names(document, kind)
        )
        yield f'<h2><a href="#{kind}s">{title}</a></h2><ul>{links}</ul>\n'


def _sections(document: Document) -> Iterator[str]:
    for kind, title in _KINDS.items():
        articles = "".join(_article(document, kind, name) for name in _names(document, kind))
        yield f'<section id="{kind}s"><h2>{title}</h2>{articles}</section>\n'


def _names(document: Document, kind: str) -> list[str]:
    return sorted(name for name, each in document["operations"].items() if _kind(each) == kind)


def _kind(operation: Document) -> str:
    if operation["action"] == "send":
        return "event"
    return "request" if "reply" in operation else "job"


def _article(document: Document, kind: str, name: str) -> str:
    operation = document["operations"][name]
    parts = [
        f'<article id="{escape(name)}">',
        f'<h3><a href="#{escape(name)}">{breakable(name)}</a>',
        f' <span class="kind {kind}">{kind}</span></h3>',
        prose(operation["summary"], "summary"),
        prose(operation.get("description", "")),
        _facts(document, kind, operation),
        *_body(
            document,
            document["components"]["messages"][name],
            "Body",
            is_taken=operation["action"] == "receive",
        ),
    ]
    if kind == "request":
        reply = _reply(operation)
        parts += _body(document, document["components"]["messages"][reply], f"Reply: {reply}")
        parts += ["<h4>Errors</h4>", _errors(operation["x-errors"])]
    return "".join([*parts, "</article>\n"])


def _facts(document: Document, kind: str, operation: Document) -> str:
    """List what is to be known besides the body."""
    channel = document["channels"][_last(operation["channel"])]
    exchange = channel["bindings"]["amqp"]["exchange"]["name"]
    facts = {
        "to": f"exchange <code>{escape(exchange)}</code>, routing key "
        f"<code>{breakable(channel['address'])}</code>",
        "who may": _who_may(kind, operation),
    }
    if kind == "request":
        again = (
            "yes: it may be sent again" if operation["x-idempotent"] else "no: not to be sent again"
        )
        facts |= {"deadline": f"{operation['x-timeout-s']:g} s, unless given", "idempotent": again}
    if kind == "job":
        facts |= {"one attempt": f"{operation['x-timeout-s']:g} s"}
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def _who_may(kind: str, operation: Document) -> str:
    verb = {"request": "calls", "event": "publishes", "job": "enqueues"}[kind]
    text = f"a service whose <code>{verb}</code> cover it"
    if scope := operation.get("x-scope"):
        text += f", for a user with the scope <code>{escape(scope)}</code>"
    elif "security" in operation:
        text += ", with the user's token"
    return text


def _body(
    document: Document, message: Document, title: str, *, is_taken: bool = False
) -> Iterator[str]:
    schema = _resolved(document, message["payload"])
    yield f"<h4>{escape(title)}</h4>"
    if not schema.get("properties"):
        yield "<p>An empty object.</p>"
        return
    yield _fields(schema, says_required=is_taken)
    for example in message.get("examples", ()):
        yield f"<figure><figcaption>Example</figcaption>{as_json(example['payload'])}</figure>"


def _fields(schema: Document, *, says_required: bool = False) -> str:
    """Draw up a table of fields; columns that would say nothing are left out."""
    fields, required = schema["properties"], schema.get("required", ())
    columns = {"field": [f"<code>{escape(name)}</code>" for name in fields]}
    columns["type"] = [_type(field) for field in fields.values()]
    limits = [_limits(field) for field in fields.values()]
    if any(limits):
        columns["limits"] = limits
    if says_required or len(required) < len(fields):
        columns["when absent"] = [
            _default(field, name in required) for name, field in fields.items()
        ]
    head = "".join(f"<th>{title}</th>" for title in columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for row in zip(*columns.values(), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _type(field: Document) -> str:
    if "$ref" in field:
        name = escape(_last(field))
        return f'<a href="#type-{name}">{name}</a>'
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if "enum" in field:
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in field["enum"])
    if "const" in field:
        return f"<code>{escape(json.dumps(field['const']))}</code>"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return escape(str(field.get("type", "anything")))


def _limits(field: Document) -> str:
    parts = [field, *field.get("anyOf", ()), field.get("items", {})]
    return ", ".join(limit for part in parts for limit in _limits_of_one(part))


def _limits_of_one(part: Document) -> Iterator[str]:
    for (least, most), unit in _RANGES.items():
        if least in part and most in part:
            yield f"{_number(part[least])} to {_number(part[most])}{unit}"
        elif least in part:
            yield f"at least {_number(part[least])}{unit}"
        elif most in part:
            yield f"at most {_number(part[most])}{unit}"
    yield from (f"<code>{escape(str(part[form]))}</code>" for form in _FORMS if form in part)


def _number(value: float) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _default(field: Document, is_required: bool) -> str:
    if is_required:
        return '<span class="required">required</span>'
    return f'<code class="default">{escape(json.dumps(field.get("default")))}</code>'


def _errors(errors: Iterable[Document]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(error['code'])}</code></td><td>{inline(error['when'])}</td>"
        f"<td>{_yes_or_no(error['is_retryable'])}</td>"
        f"<td>{_yes_or_no(error['may_have_happened'])}</td></tr>"
        for error in errors
    )
    return (
        "<table><thead><tr><th>code</th><th>when</th><th>try again</th><th>may have been done</th>"
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _yes_or_no(answer: bool) -> str:
    return "yes" if answer else "no"


def _types(document: Document) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    named = {_last({"$ref": each}) for each in _references(schemas)} | {_PROBLEM}
    for name in sorted(named):
        described = prose(schemas[name].get("description", ""))
        yield f'<article id="type-{escape(name)}"><h3>{escape(name)}</h3>{described}'
        yield f"{_fields(schemas[name])}</article>\n"


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for each in node.values():
            yield from _references(each)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


def _reply(operation: Document) -> str:
    names = [_last(each) for each in operation["reply"]["messages"]]
    return next(name for name in names if name != _PROBLEM)


def _resolved(document: Document, schema: Document) -> Document:
    resolved: Document = document["components"]["schemas"][_last(schema)]
    return resolved


def _last(reference: Document) -> str:
    return str(reference["$ref"]).rpartition("/")[2]
