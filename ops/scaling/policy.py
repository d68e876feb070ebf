"""How many processes a program may have, and how they follow its queue: KEDA's ScaledObjects.

Only what can be applied here is read; the rest is an error, never a rule that is quietly different
from the cluster's. Fields and defaults: KEDA's ScaledObject specification and RabbitMQ scaler,
Kubernetes' HorizontalPodAutoscalerBehavior (autoscaling/v2).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from postroad.contracts.errors import explain
from postroad.topology.names import VHOST

SCALING_FILE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "scaling.yaml"


class ScalingFileError(Exception):
    """The scaling file cannot be read or applied; the message says which rule, and why."""


class _Part(BaseModel):
    """A part of a ScaledObject, its names as Kubernetes writes them."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True
    )


class Rate(_Part):
    """How much may change within a period; several are weighed by ``select_policy``."""

    type: Literal["Pods", "Percent"]
    value: int = Field(gt=0)
    period_seconds: int = Field(gt=0, le=1800)


class Rates(_Part):
    """How fast to go in one direction, and how long to be sure of it first."""

    stabilization_window_seconds: int = Field(ge=0, le=3600)
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    policies: tuple[Rate, ...] = Field(min_length=1)


class ScaleUp(Rates):
    """Kubernetes' defaults: at once, by what is more of double and 4 in 15 s."""

    stabilization_window_seconds: int = Field(0, ge=0, le=3600)
    policies: tuple[Rate, ...] = Field(
        (
            Rate(type="Pods", value=4, period_seconds=15),
            Rate(type="Percent", value=100, period_seconds=15),
        ),
        min_length=1,
    )


class ScaleDown(Rates):
    """Kubernetes' defaults: to the most that was wanted in five minutes, in one step."""

    stabilization_window_seconds: int = Field(300, ge=0, le=3600)
    policies: tuple[Rate, ...] = Field(
        (Rate(type="Percent", value=100, period_seconds=15),), min_length=1
    )


class Fallback(_Part):
    """How many to run when the depth could not be had more than ``failure_threshold`` times."""

    failure_threshold: int = Field(ge=0)
    replicas: int = Field(ge=0)
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


class _Metadata(_Part):
    """What KEDA's RabbitMQ scaler is told, but for how to reach the broker: we know ours."""

    protocol: Literal["http"]  # over AMQP it would not see what workers hold
    mode: Literal["QueueLength"]
    queue_name: str
    vhost_name: Literal[VHOST] = VHOST  # type: ignore[valid-type]  # a constant
    value: int = Field(gt=0)
    activation_value: int = Field(0, ge=0)
    exclude_unacknowledged: Literal["false"] = "false"


class _Trigger(_Part):
    type: Literal["rabbitmq"]
    metric_type: Literal["AverageValue"] = "AverageValue"
    metadata: _Metadata
    authentication_ref: dict[str, str] | None = None


class _Target(_Part):
    name: str


class _Behavior(_Part):
    scale_up: ScaleUp = ScaleUp()
    scale_down: ScaleDown = ScaleDown()


class _Autoscaler(_Part):
    behavior: _Behavior = _Behavior()


class _Advanced(_Part):
    horizontal_pod_autoscaler_config: _Autoscaler = _Autoscaler()


class _Spec(_Part):
    scale_target_ref: _Target
    polling_interval: int = Field(30, gt=0)
    cooldown_period: int = Field(300, ge=0)
    min_replica_count: int = Field(0, ge=0)
    max_replica_count: int = Field(100, gt=0)
    triggers: Annotated[tuple[_Trigger, ...], Field(min_length=1, max_length=1)]
    fallback: Fallback | None = None
    advanced: _Advanced = _Advanced()

    @field_validator("triggers", mode="before")
    @classmethod
    def _one(cls, triggers: object) -> object:
        if isinstance(triggers, list) and len(triggers) > 1:
            raise ValueError(f"{len(triggers)} triggers; only one can be applied")
        return triggers

    @model_validator(mode="after")
    def _least_is_no_more_than_most(self) -> Self:
        if self.min_replica_count > self.max_replica_count:
            raise ValueError("minReplicaCount is more than maxReplicaCount")
        return self


class _ScaledObject(BaseModel):
    spec: _Spec

    def policy(self) -> Policy:
        spec = self.spec
        trigger = spec.triggers[0].metadata
        behavior = spec.advanced.horizontal_pod_autoscaler_config.behavior
        return Policy(
            program=spec.scale_target_ref.name.replace("-", "_"),
            queue=trigger.queue_name,
            value=trigger.value,
            activation_value=trigger.activation_value,
            min_replicas=spec.min_replica_count,
            max_replicas=spec.max_replica_count,
            polling_s=spec.polling_interval,
            cooldown_s=spec.cooldown_period,
            up=behavior.scale_up,
            down=behavior.scale_down,
            fallback=spec.fallback,
        )


def load_policies(path: Path = SCALING_FILE) -> dict[str, Policy]:
    """Read each program's rule from a file of Kubernetes objects; others than these are skipped.

    Raises:
        ScalingFileError: it cannot be read, or says what cannot be applied.
    """
    try:
        objects = list(yaml.safe_load_all(path.read_text()))
    except OSError as error:
        raise ScalingFileError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ScalingFileError(f"{path} is no YAML: {error}") from error
    policies: dict[str, Policy] = {}
    for policy in _policies(path, objects):
        if policy.program in policies:
            raise ScalingFileError(f"{path}: two ScaledObjects for {policy.program}")
        policies[policy.program] = policy
    return policies


def _policies(path: Path, objects: list[Any]) -> Iterator[Policy]:
    for each in objects:
        if not isinstance(each, Mapping) or each.get("kind") != "ScaledObject":
            continue
        try:
            yield _ScaledObject.model_validate(each).policy()
        except ValidationError as error:
            name = (each.get("metadata") or {}).get("name")
            raise ScalingFileError(f"{path}: {name}: {explain(error)}") from error
