"""The fields of KEDA 2.17+ and of the RabbitMQ cluster operator 2.17+ that we use, and no others.

Kubernetes itself refuses a field that a custom resource does not have; these models do so without
a cluster. What they embed of Kubernetes' own kinds is put into such a kind, whose schema is known.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Strict(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class Metadata(_Strict):
    name: str
    labels: dict[str, str] = {}


class SecretTarget(_Strict):
    parameter: Literal["host", "tls", "ca", "username", "password"]
    name: str
    key: str


class TriggerAuthenticationSpec(_Strict):
    secret_target_ref: list[SecretTarget]


class TriggerAuthentication(_Strict):
    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["TriggerAuthentication"]
    metadata: Metadata
    spec: TriggerAuthenticationSpec


class Reference(_Strict):
    name: str


class RabbitTrigger(_Strict):
    """Strings throughout: KEDA takes no number here."""

    protocol: Literal["http"]
    vhost_name: str
    queue_name: str = Field(pattern=r"^\^([a-z0-9_]|\\\.)+\$$")  # one queue: ^rpc\.auth$
    use_regex: Literal["true"]  # or a node would count only what waits in queues that it leads
    mode: Literal["QueueLength"]
    value: str = Field(pattern=r"^[1-9][0-9]*$")
    activation_value: str | None = Field(default=None, pattern=r"^[0-9]+$")
    exclude_unacknowledged: Literal["true", "false"]


class Trigger(_Strict):
    type: Literal["rabbitmq"]
    authentication_ref: Reference
    metadata: RabbitTrigger


class Fallback(_Strict):
    failure_threshold: int = Field(ge=0)
    replicas: int = Field(ge=0)
    behavior: Literal[
        "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
    ]


class HorizontalPodAutoscalerConfig(_Strict):
    behavior: dict[str, Any]  # of a HorizontalPodAutoscaler


class Advanced(_Strict):
    horizontal_pod_autoscaler_config: HorizontalPodAutoscalerConfig


class ScaledObjectSpec(_Strict):
    scale_target_ref: Reference
    polling_interval: int = Field(ge=1)
    cooldown_period: int | None = Field(default=None, ge=0)
    min_replica_count: int = Field(ge=0)
    max_replica_count: int = Field(ge=1)
    triggers: list[Trigger] = Field(min_length=1)
    fallback: Fallback
    advanced: Advanced


class ScaledObject(_Strict):
    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


class Persistence(_Strict):
    storage: str


class RabbitConfiguration(_Strict):
    additional_plugins: list[str]
    additional_config: str
    advanced_config: str


class BrokerTls(_Strict):
    secret_name: str
    ca_secret_name: str
    disable_non_tls_listeners: bool = Field(alias="disableNonTLSListeners")


class StatefulSetOverride(_Strict):
    spec: dict[str, Any]  # of a StatefulSet


class Override(_Strict):
    stateful_set: StatefulSetOverride


class RabbitmqClusterSpec(_Strict):
    replicas: int
    image: str
    persistence: Persistence
    resources: dict[str, Any]  # of a container
    tls: BrokerTls
    rabbitmq: RabbitConfiguration
    affinity: dict[str, Any]  # of a pod
    override: Override


class RabbitmqCluster(_Strict):
    api_version: Literal["rabbitmq.com/v1beta1"]
    kind: Literal["RabbitmqCluster"]
    metadata: Metadata
    spec: RabbitmqClusterSpec


CUSTOM_KINDS: dict[str, type[BaseModel]] = {
    kind.__name__: kind for kind in (TriggerAuthentication, ScaledObject, RabbitmqCluster)
}
