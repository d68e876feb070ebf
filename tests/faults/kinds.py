"""All kinds of fault: those for any broker, and those for a cluster."""

from tests.faults.cluster_faults import CLUSTER_KINDS
from tests.faults.faults import KINDS

ALL_KINDS = KINDS | CLUSTER_KINDS
