"""How the programs of `postroad up` scale."""

from ops.scaling.policy import Fallback, Policy, Rate, ScaleDown
from ops.services.manifests import manifests
from postroad.topology.manifest import Scaling

# The same for all, and in deploy/kubernetes/scaling.yaml, which explains them.
_POLLING_S = 5
_COOLDOWN_S = 60
_FAILURES = 3
_DOWN = ScaleDown(stabilization_window_seconds=60, policies=(Rate("Percent", 50, 30),))


def load() -> dict[str, Policy]:
    """Return the policy of each program that scales, from its service's manifest.

    Raises:
        ServicesFileError: a manifest is wrong.
    """
    return {
        name: _policy(name, program.scaling)
        for each in manifests()
        for name, program in each.programs.items()
        if program.scaling is not None
    }


def _policy(program: str, scaling: Scaling) -> Policy:
    """Return a program's policy; a start takes longer than a caller waits, so one always runs."""
    return Policy(
        program=program,
        queue=scaling.queue,
        value=scaling.messages_per_process,
        min_replicas=1 if scaling.is_rpc else 0,
        max_replicas=scaling.max_processes,
        polling_s=_POLLING_S,
        cooldown_s=_COOLDOWN_S,
        down=_DOWN,
        fallback=Fallback(
            failure_threshold=_FAILURES,
            replicas=2 if scaling.is_rpc else 1,
            behavior="currentReplicasIfHigher",
        ),
    )
