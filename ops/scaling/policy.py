"""How many processes a program may have, and how they follow its queue.

Fields and defaults are those of KEDA's ScaledObject and RabbitMQ scaler, and of Kubernetes'
HorizontalPodAutoscalerBehavior (autoscaling/v2): a cluster does the same as `postroad up`.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class Rate:
    """How much may change within a period; several are weighed by ``select_policy``."""

    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class ScaleUp:
    """Kubernetes' defaults: at once, by what is more of double and 4 in 15 s."""

    stabilization_window_seconds: int = 0
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    policies: tuple[Rate, ...] = (Rate("Pods", 4, 15), Rate("Percent", 100, 15))


@dataclass(frozen=True, slots=True)
class ScaleDown:
    """Kubernetes' defaults: to the most that was wanted in five minutes, in one step."""

    stabilization_window_seconds: int = 300
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    policies: tuple[Rate, ...] = (Rate("Percent", 100, 15),)


@dataclass(frozen=True, slots=True)
class Fallback:
    """How many to run when the depth could not be had more than ``failure_threshold`` times."""

    failure_threshold: int
    replicas: int
    behavior: Literal["static", "currentReplicasIfHigher"] = "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One program's rule."""

    program: str
    queue: str
    value: int
    activation_value: int = 0
    min_replicas: int = 0
    max_replicas: int = 100
    polling_s: int = 30
    cooldown_s: int = 300
    up: ScaleUp = field(default_factory=ScaleUp)
    down: ScaleDown = field(default_factory=ScaleDown)
    fallback: Fallback | None = None

    def capped(self, max_replicas: int) -> Self:
        """Give the rule for a machine that is to run no more than this many of each program."""
        return replace(
            self,
            min_replicas=min(self.min_replicas, max_replicas),
            max_replicas=min(self.max_replicas, max_replicas),
        )
