"""Sign-ins whose clock stands still, and whose looks at a password are counted."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from auth_worker.attempts import Attempts
from auth_worker.devices import Devices
from auth_worker.passwords import Passwords
from auth_worker.sign_in import SignIn
from postroad.contracts.errors import InvalidCredentials
from tests.support.auth import ADDRESS, WRONG, AuthUnderTest, Clock

FOREVER = 1e12


class CountingPasswords(Passwords):
    """Counts how often a password is looked at."""

    looked_at = 0

    def matches(self, password: str, password_hash: str | None) -> bool:
        self.looked_at += 1
        return super().matches(password, password_hash)


@dataclass
class Counted:
    """Sign-ins with a clock that stands still, and passwords that are counted."""

    auth: AuthUnderTest
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.passwords = CountingPasswords(self.auth.settings)
        self.attempts = Attempts(
            self.auth.database, self.auth.settings, clock=self.clock, pause=self._pass_time
        )

    def sign_in(
        self,
        password: str = WRONG,
        *,
        username: str = "reader",
        address: str | None = ADDRESS,
        device_token: str | None = None,
    ) -> Any:
        service = self.auth.service
        sign_in = SignIn(
            service.database,
            service.outbox,
            users=service.users,
            passwords=self.passwords,
            attempts=self.attempts,
            devices=Devices(self.auth.keys["auth"]),
            sessions=service.sessions,
        )
        return sign_in.sign_in(
            username, password, address, device_token=device_token, deadline=FOREVER
        )

    def fail(self, times: int, **given: Any) -> None:
        for _ in range(times):
            with pytest.raises(InvalidCredentials):
                self.sign_in(**given)

    def _pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
