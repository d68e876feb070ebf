"""How the programs of `postroad up` scale."""

from ops.scaling.policy import SCALING_FILE, Policy, ScalingFileError, load_policies
from ops.services.entries import PROGRAMS


def load() -> dict[str, Policy]:
    """Read the policy of each program that scales.

    Raises:
        ScalingFileError: the scaling file is wrong, or for a program that is none of ours.
    """
    found = load_policies(SCALING_FILE)
    if strange := sorted(found.keys() - PROGRAMS.keys()):
        raise ScalingFileError(f"{SCALING_FILE}: there is no program {strange[0]}")
    return found
