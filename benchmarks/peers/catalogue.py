"""What every peer has in its worker's memory: the 30 products that our own system answers with."""

import json
import os
from pathlib import Path
from typing import Any

PAGE: dict[str, Any] = json.loads(Path(os.environ["PEER_PAGE"]).read_text())


def list_products(limit: int, skip: int = 0) -> dict[str, Any]:
    """Give part of the listing, as ``GET /products`` answers it."""
    return PAGE | {"data": PAGE["data"][skip : skip + limit], "skip": skip, "limit": limit}
