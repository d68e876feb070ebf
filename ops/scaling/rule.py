"""How many processes a queue deserves: what KEDA and Kubernetes decide, as one pure function.

Two decide in a cluster, and here in their order:

- KEDA's operator looks whether there is anything to do. It starts the first process and ends the
  last, or all that are left, when nothing was to do for ``cooldown_s``
  (pkg/scaling/executor/scale_scaledobjects.go).
- Kubernetes' HorizontalPodAutoscaler sizes what runs, and never to none
  (pkg/controller/podautoscaler/horizontal.go; kubernetes.io: Horizontal Pod Autoscaling).

Nothing here reads a clock, waits or asks: `postroad up` and a simulation run the same code.
"""

from dataclasses import dataclass, replace

from ops.scaling.policy import Policy, Rate, ScaleDown, ScaleUp

_TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance, its default


@dataclass(frozen=True, slots=True)
class Moment:
    """A number of processes, and when it was wanted, or by how many they changed then."""

    at_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What one decision leaves for the next; empty before the first."""

    wanted: tuple[Moment, ...] | None = None
    added: tuple[Moment, ...] = ()
    removed: tuple[Moment, ...] = ()
    active_at_s: float | None = None  # when there was last something to do
    failures: int = 0  # how often in a row the depth could not be had


@dataclass(frozen=True, slots=True)
class Decision:
    """How many processes to run, why, and what to remember."""

    replicas: int
    reason: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class _Case:
    """What a decision is about."""

    policy: Policy
    replicas: int
    memory: Memory
    now_s: float


def decide(
    policy: Policy, depth: int | None, *, replicas: int, memory: Memory, now_s: float
) -> Decision:
    """Decide how many processes to run from now on.

    Args:
        depth: messages that wait and messages that workers hold; None when they cannot be counted.
        replicas: how many processes are wanted now, whether they live or crash: one that crashes
            is started again, and is no reason for more of the same.
        memory: what the decision before left.
        now_s: the time, on a clock that only goes forward.
    """
    if depth is None:
        memory = replace(memory, failures=memory.failures + 1)
        return _without_depth(_Case(policy, replicas, memory, now_s))
    active = depth > policy.activation_value
    memory = replace(memory, failures=0, active_at_s=now_s if active else memory.active_at_s)
    case = _Case(policy, replicas, memory, now_s)
    if replicas == 0:
        return _from_none(case, depth, active)
    if policy.min_replicas == 0 and not active and _is_cool(case):
        reason = f"{_messages(depth)}, and nothing to do for {policy.cooldown_s} s: none"
        return Decision(0, reason, memory)
    proposed, reason = _proposed(policy, depth, replicas)
    return _sized(case, proposed, reason)


def _without_depth(case: _Case) -> Decision:
    """Leave all as it is, for a while; then run what the policy falls back on."""
    policy, replicas, memory = case.policy, case.replicas, case.memory
    reason = f"{policy.queue} cannot be counted, {memory.failures} in a row"
    fallback = policy.fallback
    if fallback is None or memory.failures <= fallback.failure_threshold:
        return Decision(replicas, reason, memory)
    wanted = fallback.replicas
    if fallback.behavior == "currentReplicasIfHigher":
        wanted = max(wanted, replicas)
    reason = f"{reason}: fall back on {wanted}"
    if replicas == 0:
        return Decision(min(wanted, policy.max_replicas), reason, memory)
    return _sized(case, wanted, reason)


def _from_none(case: _Case, depth: int, active: bool) -> Decision:
    if least := case.policy.min_replicas:
        return Decision(least, f"at least {least}", case.memory)
    if active:
        return Decision(1, f"{_messages(depth)} and no process: the first", case.memory)
    return Decision(0, f"{_messages(depth)}: none", case.memory)


def _is_cool(case: _Case) -> bool:
    active_at_s = case.memory.active_at_s
    return active_at_s is None or case.now_s - active_at_s > case.policy.cooldown_s


def _proposed(policy: Policy, depth: int, replicas: int) -> tuple[int, str]:
    count = -(-depth // policy.value)
    reason = f"{_messages(depth)} / {policy.value} per process = {count}"
    ratio = depth / (policy.value * replicas)
    if count != replicas and 1 - _TOLERANCE <= ratio <= 1 + _TOLERANCE:
        return replicas, f"{reason}; within a tenth of what {replicas} may have"
    return count, reason


def _sized(case: _Case, proposed: int, reason: str) -> Decision:
    """Size what runs, as the HorizontalPodAutoscaler does."""
    replicas, least, most = (
        case.replicas,
        max(case.policy.min_replicas, 1),
        case.policy.max_replicas,
    )
    if not least <= replicas <= most:  # another rule or a hand was here: no reason to go slowly
        bounded = min(max(replicas, least), most)
        return Decision(bounded, f"{least} to {most} are allowed", case.memory)
    case = replace(case, memory=_with_wanted(case, proposed))
    steady, doubt = _stabilized(case, proposed)
    paced = _paced(case, steady)
    bounded = min(max(paced, least), most)
    if bounded != paced:
        limit = f"; at most {most}" if paced > most else f"; at least {least}"
    else:
        limit = f"; no faster than to {paced}" if paced != steady else ""
    return Decision(bounded, reason + doubt + limit, _with_change(case, bounded - replicas))


def _stabilized(case: _Case, proposed: int) -> tuple[int, str]:
    """Go up to what was wanted throughout a window, down to the most that was wanted in one."""
    if proposed > case.replicas:
        window_s = case.policy.up.stabilization_window_seconds
        least = min([proposed, *_counts(case.memory.wanted or (), case.now_s - window_s)])
        if least < proposed:
            return max(least, case.replicas), f"; but {least} was enough within {window_s} s"
    if proposed < case.replicas:
        window_s = case.policy.down.stabilization_window_seconds
        most = max([proposed, *_counts(case.memory.wanted or (), case.now_s - window_s)])
        if most > proposed:
            return min(most, case.replicas), f"; but {most} wanted within {window_s} s"
    return proposed, ""


def _paced(case: _Case, wanted: int) -> int:
    """Go no faster than the policies of that direction allow."""
    replicas, up, down = case.replicas, case.policy.up, case.policy.down
    if wanted > replicas:
        pick = min if up.select_policy == "Min" else max  # the larger number is the larger change
        return min(wanted, max(replicas, pick(_limits(case, up, +1))))
    pick = max if down.select_policy == "Min" else min
    return max(wanted, min(replicas, pick(_limits(case, down, -1))))


def _limits(case: _Case, rates: ScaleUp | ScaleDown, sign: int) -> list[int]:
    """Give how far each policy lets us go from what there was when its period began."""
    if rates.select_policy == "Disabled":
        return [case.replicas]
    return [_limit(rate, sign, _count_before(case, rate.period_seconds)) for rate in rates.policies]


def _count_before(case: _Case, period_s: float) -> int:
    since_s = case.now_s - period_s
    added = sum(_counts(case.memory.added, since_s))
    removed = sum(_counts(case.memory.removed, since_s))
    return case.replicas - added + removed


def _limit(rate: Rate, sign: int, before: int) -> int:
    if rate.type == "Pods":
        return before + sign * rate.value
    hundredfold = before * (100 + sign * rate.value)
    return -(-hundredfold // 100) if sign > 0 else hundredfold // 100  # or 1 would stay 1 for ever


def _with_wanted(case: _Case, proposed: int) -> Memory:
    """Note what is wanted, and forget what no window or period reaches.

    Before the first note stands what there was: a controller that has just started knows no better.
    """
    memory, up, down = case.memory, case.policy.up, case.policy.down
    windows = (up.stabilization_window_seconds, down.stabilization_window_seconds)
    periods = (rate.period_seconds for rate in (*up.policies, *down.policies))
    reach_s = case.now_s - max(*windows, *periods)
    first = (Moment(case.now_s, case.replicas),)
    wanted = first if memory.wanted is None else _since(memory.wanted, reach_s)
    return replace(
        memory,
        wanted=(*wanted, Moment(case.now_s, proposed)),
        added=_since(memory.added, reach_s),
        removed=_since(memory.removed, reach_s),
    )


def _with_change(case: _Case, change: int) -> Memory:
    memory, moment = case.memory, Moment(case.now_s, abs(change))
    if change > 0:
        return replace(memory, added=(*memory.added, moment))
    if change < 0:
        return replace(memory, removed=(*memory.removed, moment))
    return memory


def _since(moments: tuple[Moment, ...], at_s: float) -> tuple[Moment, ...]:
    return tuple(moment for moment in moments if moment.at_s > at_s)


def _counts(moments: tuple[Moment, ...], since_s: float) -> list[int]:
    return [moment.count for moment in _since(moments, since_s)]


def _messages(depth: int) -> str:
    return f"{depth} message" if depth == 1 else f"{depth} messages"
