"""Query parameters, read as leniently as the JavaScript server this one stands in for."""

import re
from dataclasses import dataclass

from starlette.datastructures import QueryParams

DEFAULT_LIMIT = 30
MAX_DELAY_MS = 5000

# What JavaScript's Number() takes, with digits enough for any real number of products.
_NUMBER = re.compile(r"[+-]?(\d{1,15}\.?\d{0,15}|\.\d{1,15})([eE][+-]?\d{1,3})?", re.ASCII)
_LEADING_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


class BadQuery(Exception):
    """A parameter cannot be understood."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of a list to show; None is a number that was given but left empty."""

    limit: int | None
    skip: int | None
    sort_by: str
    descending: bool
    select: tuple[str, ...]


def page_query(parameters: QueryParams) -> PageQuery:
    """
    Raises:
        BadQuery: limit or skip is no number, or the order is unknown.
    """
    sort_by = parameters.get("sortBy", "")
    return PageQuery(
        limit=_integer(parameters, "limit", DEFAULT_LIMIT),
        skip=_integer(parameters, "skip", 0),
        sort_by=sort_by,
        descending=bool(sort_by) and _is_descending(parameters),
        select=select_fields(parameters),
    )


def select_fields(parameters: QueryParams) -> tuple[str, ...]:
    names = (name.strip() for name in parameters.get("select", "").split(","))
    return tuple(name for name in names if name)


def search_text(parameters: QueryParams) -> str:
    """
    Raises:
        BadQuery: it was given twice, which the stand-in's framework reads as a list.
    """
    given = parameters.getlist("q")
    if len(given) > 1:
        raise BadQuery("Invalid 'q' - must be a string")
    return given[0] if given else ""


def delay_ms(parameters: QueryParams) -> int:
    """
    Raises:
        BadQuery: it is no number from 0 to MAX_DELAY_MS.
    """
    asked_ms = _integer(parameters, "delay", 0) or 0
    if asked_ms < 0:
        raise BadQuery("Delay cannot be negative")
    if asked_ms > MAX_DELAY_MS:
        raise BadQuery(f"Delay cannot be greater than {MAX_DELAY_MS // 1000} seconds")
    return asked_ms


def _integer(parameters: QueryParams, name: str, default: int) -> int | None:
    """Check with Number(), read with parseInt(): `1.9` and `1e1` are 1, and "" is NaN, our None."""
    text = parameters.get(name, str(default)).strip()
    if text and not _NUMBER.fullmatch(text):
        raise BadQuery(f"Invalid '{name}' - must be a number")
    leading = _LEADING_INTEGER.match(text)
    return int(leading.group()) if leading else None


def _is_descending(parameters: QueryParams) -> bool:
    order = parameters.get("order", "asc")
    if order not in {"asc", "desc"}:
        raise BadQuery("Order can be: 'asc' or 'desc'")
    return order == "desc"
