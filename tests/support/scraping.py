"""Asking for metrics as Prometheus does, and reading the answer with its own parser."""

from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from postroad.observability.metrics import Metric
from postroad.observability.prometheus import registry_of


@dataclass(frozen=True)
class Scrape:
    """What was told at one moment."""

    samples: list[Sample]

    @classmethod
    def of_text(cls, text: str) -> "Scrape":
        families = text_string_to_metric_families(text)
        return cls([sample for family in families for sample in family.samples])

    @classmethod
    def of(cls, measures: Iterable[Metric]) -> "Scrape":
        return cls.of_text(generate_latest(registry_of(measures)).decode())

    def value(self, name: str, /, **labels: str) -> float:
        """Add up the samples that have these labels, 0 when there are none."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}


async def scrape(port: int) -> Scrape:
    async with httpx.AsyncClient() as http:
        response = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert response.status_code == 200, response.text
    return Scrape.of_text(response.text)
