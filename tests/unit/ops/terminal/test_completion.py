"""What Tab completes at a Python prompt."""

import pytest

from ops.terminal.completion import Completer
from postroad.contracts.catalog import GetProduct, ListProducts


@pytest.mark.parametrize(
    ("line", "text", "found"),
    [
        ("await call(ListPr", "ListPr", ["ListProducts("]),
        ("await call(GetProduct(", "", ["product_id="]),
        ("ListProducts(limit=2, sk", "sk", ["skip="]),
        ("ListProducts(limit=pro", "pro", ["property("]),
        ("print(GetPro", "GetPro", ["GetProduct("]),
        ("GetProduct(nothing", "nothing", []),
    ],
)
def test_tab_completes_names_and_fields(line: str, text: str, found: list[str]) -> None:
    names: dict[str, object] = {"ListProducts": ListProducts, "GetProduct": GetProduct}
    completer = Completer(names, lambda: line)

    completions = [completer.complete(text, state) for state in range(len(found) + 1)]

    assert completions == [*found, None]
