"""Replacing a service's keys without a message refused.

The new keys are made known before they are used, and the old ones accepted for a while after:

    now            both are in the identity and in the trust bundle; the old ones are in use
    + lead_s       everybody has read the new files; the new ones are in use
    + OVERLAP_S    nothing made with the old ones is under way any more; they retire, but for
                   those of events and jobs, which may wait in a queue for EVENT_LIFETIME_S
"""

from time import time

from postroad.security.keys import PURPOSES, Identity, PrivateKey, Purpose, TrustBundle
from postroad.security.lasting_signatures import EVENT_LIFETIME_S

LEAD_S = 5.0  # services look at their files every second; copying these may take longer
OVERLAP_S = 3600.0  # longer than a token lives, or a request waits


def rotate(identity: Identity, *, lead_s: float = LEAD_S) -> Identity:
    """Give an identity new keys for every purpose; keys that have retired are dropped."""
    now = time()
    active_from = now + lead_s
    new = [
        PrivateKey.create(identity.service, purpose, active_from=active_from)
        for purpose in PURPOSES
    ]
    old = [
        key
        if key.retires_at is not None
        else key.model_copy(update={"retires_at": active_from + overlap_s(key.purpose)})
        for key in identity.keys
        if key.is_accepted(now)
    ]
    return Identity(service=identity.service, keys=(*new, *old))


def overlap_s(purpose: Purpose) -> float:
    """Give for how long an old key of a purpose is accepted, once the new one is in use."""
    return EVENT_LIFETIME_S + OVERLAP_S if purpose == "events" else OVERLAP_S


def trust_rotated(trust: TrustBundle, identity: Identity) -> TrustBundle:
    """Put a rotated identity's public keys into the trust bundle."""
    service = trust.services[identity.service]
    keys = tuple(key.public() for key in identity.keys)
    renewed = service.model_copy(update={"keys": keys})
    return TrustBundle(services=trust.services | {identity.service: renewed})
