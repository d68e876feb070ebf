"""The tables in docs/performance.md, put in anew from what was measured last."""

import re
from pathlib import Path

from benchmarks.machine import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"


def renew(folder: Path, document: Path = DOCUMENT) -> None:
    """Put each part's report between its marks in the document."""
    text = document.read_text()
    for report in sorted(folder.glob("*.md")):
        text = with_report(text, report.stem, report.read_text())
    document.write_text(text)
    print(f"wrote {document}")


def with_report(text: str, name: str, report: str) -> str:
    """Replace what is between ``<!-- name -->`` and ``<!-- end -->``."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n{report}\n{found[2]}", text)
