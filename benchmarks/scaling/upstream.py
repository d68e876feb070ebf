"""The sample product API with more products: ``python -m benchmarks.scaling.upstream``.

Faults, such as how long it takes over an answer, come from its usual environment variables.
"""

import argparse

import uvicorn

from sample_api.faults import Faults
from sample_api.server import build_app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--products", type=int, required=True)
    parser.add_argument(
        "--text-bytes", type=int, default=0, help="so long a text in all but the first ten"
    )
    options = parser.parse_args()
    app = build_app(Faults())
    app.state.products = [product(number) for number in range(1, options.products + 1)]
    for each in app.state.products[10:] if options.text_bytes else []:
        each["description"] = "x" * options.text_bytes
    uvicorn.run(app, host=options.host, port=options.port, access_log=False, log_level="warning")


def product(number: int) -> dict[str, object]:
    """Make up a product; its number is its id."""
    return {
        "id": number,
        "title": f"Product {number}",
        "description": f"The {number}th thing that somebody may want to buy",
        "category": f"shelf-{number % 100}",
        "price": number + 0.25,
        "stock": number % 50,
    }


if __name__ == "__main__":
    main()
