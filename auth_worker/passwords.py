"""Passwords are kept as Argon2id hashes (RFC 9106)."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from auth_worker.settings import AuthSettings


class Passwords:
    """Hashes and checks passwords; a check takes the same time for a user there is not."""

    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._hash_of_nobody = self._hasher.hash("")

    def hash(self, password: str) -> str:
        """Hash a password, with its salt and parameters, as text."""
        return self._hasher.hash(password)

    def matches(self, password: str, password_hash: str | None) -> bool:
        """Check a password against a user's hash; none stands for a user there is not."""
        try:
            self._hasher.verify(password_hash or self._hash_of_nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    def renewed(self, password: str, password_hash: str) -> str | None:
        """Hash a password that matches anew, if its hash has other parameters than ours."""
        if self._hasher.check_needs_rehash(password_hash):
            return self._hasher.hash(password)
        return None
