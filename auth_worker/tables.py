"""What the auth service keeps, as tables; the migrations make them.

Times are seconds since 1970. No password and no token is kept: only what they are checked against.
"""

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, String, Table

from postroad.storage.tables import Schema, new_metadata, outbox_table

metadata = new_metadata()

SCHEMA = Schema(
    service="auth",
    migrations="auth_worker:migrations",
    own_table="users",
    command="python -m auth_worker.migrate",
)

USERNAME_MAX = 200
REASON_MAX = 40

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(USERNAME_MAX), nullable=False, unique=True),
    Column("password_hash", String(500), nullable=False),
    Column("password_version", Integer, nullable=False),  # grows with each new password
    Column("roles", String(200), nullable=False),  # separated by spaces
    Column("is_disabled", Boolean, nullable=False),
    Column("for_development", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("access_until", Double, nullable=False),  # when its last access token expires
    Column("refresh_until", Double, nullable=False),  # when its last refresh token expires
    Column("ended_at", Double),
    Column("end_reason", String(20)),
    Index(None, "user_id"),
    Index(None, "ended_at", "access_until"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # SHA-256, in hexadecimal
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
    Column("used_by", String(64)),  # SHA-256 of the request that used it: see refresh_tokens.py
    Index(None, "session_id"),
    Index(None, "expires_at"),
)

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("attempt_id", String(36), primary_key=True),
    Column("key", String(64), primary_key=True),  # SHA-256 of what is counted: see attempts.py
    Column("at", Double, nullable=False),
    Column("is_settled", Boolean, nullable=False),  # false: its password is being checked
    Index(None, "key", "at"),
    Index(None, "at"),
)

# What there is to say of who signed in: see audit/trail.py. It outlives users and sessions.
audit = Table(
    "audit",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("at", Double, nullable=False),
    Column("what", String(200), nullable=False),  # the event's name
    Column("user_id", Integer),
    Column("session_id", String(36)),
    Column("reason", String(REASON_MAX)),
    Column("client_network", String(64)),
    Index(None, "at"),
    Index(None, "user_id", "at"),
)

outbox = outbox_table(metadata)
