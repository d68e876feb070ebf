"""One example of each message, for the documents; as they are models, they keep their contracts."""

from collections.abc import Mapping

from postroad.contracts.auth import (
    ChangePassword,
    CreateSession,
    Ended,
    EndOwnSession,
    EndSession,
    GetOwnUser,
    ListOwnSessions,
    ListRevocations,
    OwnSession,
    OwnSessionList,
    PasswordChanged,
    RefreshSession,
    Revocation,
    RevocationList,
    Session,
    UserProfile,
)
from postroad.contracts.base import Message
from postroad.contracts.catalog import (
    Category,
    CategoryList,
    GetProduct,
    ListCategories,
    ListProducts,
    Product,
    ProductPage,
)
from postroad.contracts.errors import ProductNotFound
from postroad.contracts.events import (
    LoginFailed,
    LoginSucceeded,
    ProductAdded,
    ProductPriceChanged,
    ProductRemoved,
    SessionRevoked,
    SyncRequested,
)
from postroad.contracts.probes import ProbeSessions, ProbeSyncs, Readiness
from postroad.contracts.syncs import FetchPage, GetSync, StartSync, Sync

_SESSION_ID = "019a2b6e-4c1d-7b53-9f0e-2d7c51a8e604"
_SYNC_ID = "019a2b70-9d35-7c18-8a46-f1b3720c9d5e"
_AT = 1767225600.0  # 2026-01-01T00:00:00Z
_SEALED = "l3Zc0mXyTq8dKf2VbH7uWj5RsAe1NgPi"  # what is sealed is text like this, only longer
_DEVICE = "1775001600.019a2b6e-4c1d-7b53-9f0e-2d7c51a8e604.l3Zc0mXyTq8dKf2V"  # and longer
_OWN_SESSION = OwnSession(
    session_id=_SESSION_ID,
    created_at=_AT,
    refreshed_at=_AT + 900,
    client_network="192.0.2.0/24",
    is_current=True,
)
_LAMP = Product(
    id=7,
    title="Desk Lamp, Brass",
    brand="Halvorne",
    price=89.0,
    description="A lamp with a swivel arm.",
    category="lighting",
    thumbnail="https://shop.example/lamp.webp",
    rating=4.6,
    stock=12,
)

EXAMPLES: Mapping[type[Message], Message] = {
    type(example): example
    for example in (
        CreateSession(
            username="reader",
            sealed_password=_SEALED,
            client_address="192.0.2.7",
            device_token=_DEVICE,
        ),
        RefreshSession(sealed_refresh_token=_SEALED),
        Session(
            access_token="eyJhbGciOiJFZERTQSIs",  # noqa: S106  # the beginning of one
            expires_in=900,
            sealed_refresh_token=_SEALED,
            refresh_expires_in=2_592_000,
            user_id=3,
            device_token=_DEVICE,
        ),
        EndSession(sealed_refresh_token=_SEALED),
        Ended(),
        ListOwnSessions(),
        OwnSessionList(data=[_OWN_SESSION]),
        EndOwnSession(session_id=_SESSION_ID),
        ChangePassword(
            sealed_password=_SEALED,
            sealed_new_password=_SEALED,
            client_address="192.0.2.7",
            device_token=_DEVICE,
        ),
        PasswordChanged(device_token=_DEVICE, ended_sessions=1),
        GetOwnUser(),
        UserProfile(user_id=3, username="reader", roles=["user"], scopes=["catalog:read"]),
        ListRevocations(),
        RevocationList(data=[Revocation(session_id=_SESSION_ID, until=_AT + 900)]),
        ProbeSessions(),
        ProbeSyncs(),
        Readiness(problem="the database is read-only"),
        ListProducts(limit=1, category="lighting", sort_by="price", order="desc"),
        ProductPage(data=[_LAMP], total=9, skip=0, limit=1),
        GetProduct(product_id=7),
        _LAMP,
        ListCategories(),
        CategoryList(data=[Category(slug="lighting", name="Lighting")]),
        StartSync(),
        GetSync(sync_id=_SYNC_ID),
        Sync(
            sync_id=_SYNC_ID,
            status="running",
            requested_at=_AT,
            finished_at=None,
            pages=4,
            pages_done=1,
            products=30,
            added=2,
            price_changed=1,
            removed=0,
        ),
        FetchPage(sync_id=_SYNC_ID, skip=30, limit=30),
        ProductNotFound("no product 7").to_problem(),
        LoginSucceeded(user_id=3, session_id=_SESSION_ID, at=_AT, client_network="192.0.2.0/24"),
        LoginFailed(user_id=None, reason="unknown_user", at=_AT, client_network="192.0.2.0/24"),
        SessionRevoked(session_id=_SESSION_ID, user_id=3, until=_AT + 900),
        SyncRequested(sync_id=_SYNC_ID),
        ProductAdded(product_id=7, title=_LAMP.title, price=_LAMP.price, sync_id=_SYNC_ID),
        ProductPriceChanged(product_id=7, old_price=99.0, new_price=89.0, sync_id=_SYNC_ID),
        ProductRemoved(product_id=7, sync_id=_SYNC_ID),
    )
}
