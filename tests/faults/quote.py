"""Quote the last campaign in the README, after `make faults`: ``python -m tests.faults.quote``."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = "tests/faults/results/campaign.md"
BEGIN, END = f"<!-- from {RESULTS} -->", "<!-- end -->"


def main() -> None:
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n\n{tables((ROOT / RESULTS).read_text())}\n\n{END}{after}")


def tables(report: str) -> str:
    """Return the tables of a report."""
    _, head, rest = report.partition("| fault |")
    return (head + rest).partition("\n## ")[0].rstrip()


if __name__ == "__main__":
    main()
