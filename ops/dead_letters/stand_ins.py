"""What a test gives a handler of ours in place of its database, its upstream, or its service."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

_DATABASE = '''\
@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Empty: put into it what the handler is to find."""
    url = f"sqlite:///{tmp_path / 'test.db'}"
    migrate(url, SCHEMA)
    database = Database(url)
    yield database
    database.close()
'''
_CATALOG = '''\
class MemoryCatalog:
    """Let it answer what upstream did."""

    async def list(self, request: ListProducts) -> Dated[ProductPage]:
        page = ProductPage(data=[], total=0, skip=request.skip, limit=request.limit)
        return Dated(page, as_of=time())

    async def find(self, product_id: int) -> Dated[Product | None]:
        product = Product(id=product_id, title="Lamp", price=12.5, description="")
        return Dated(product, as_of=time())

    async def categories(self) -> Dated[CategoryList]:
        return Dated(CategoryList(data=[]), as_of=time())


@pytest.fixture
def catalog() -> MemoryCatalog:
    return MemoryCatalog()
'''
_LISTING = '''\
class MemoryListing:
    """Let it list what upstream did."""

    def page(self, *, skip: int, limit: int) -> Listed:
        return Listed(products=[], total=0, dropped=[])


@pytest.fixture
def listing() -> MemoryListing:
    return MemoryListing()
'''
_SYNCS = """\
@pytest.fixture
def syncs(database: Database) -> Syncs:
    settings = StoreSettings(database_url=SecretStr("sqlite:///unused"))
    return Syncs(database, inbox=Inbox(inbox), outbox=Outbox(outbox), settings=settings)
"""
_TRAIL = """\
@pytest.fixture
def trail(database: Database) -> AuditTrail:
    return AuditTrail(database)
"""
_SERVICE = """\
@pytest.fixture
def service(database: Database, keys: dict[str, KeyRing]) -> AuthService:
    settings = AuthSettings(database_url=SecretStr("sqlite:///unused"), argon2_memory_kib=64)
    return build_service(
        settings,
        database=database,
        outbox=Outbox(outbox),
        keys=keys["auth"],
        is_development=True,
    )
"""
_SESSIONS = """\
@pytest.fixture
def sessions(service: AuthService) -> Sessions:
    return service.sessions
"""
_SIGN_IN = """\
@pytest.fixture
def sign_in(service: AuthService) -> SignIn:
    return service.sign_in
"""


@dataclass(frozen=True, slots=True)
class StandIn:
    """A fixture: its text, what that imports, and the stand-ins that it is made of."""

    code: str
    imports: tuple[str, ...]  # MODULE:NAME
    needs: tuple[str, ...] = ()
    type_name: str = ""  # of what the fixture returns, where the handler names a protocol

    def whole(self) -> Iterator["StandIn"]:
        """Yield the stand-ins that it is made of, then itself."""
        for need in self.needs:
            yield from STAND_INS[need].whole()
        yield self


def _database(package: str) -> StandIn:
    return StandIn(
        _DATABASE,
        (
            "collections.abc:Iterator",
            "pathlib:Path",
            f"{package}.tables:SCHEMA",
            "postroad.storage.database:Database",
            "postroad.storage.migrate:migrate",
        ),
    )


_OF_SYNCS = StandIn(
    _SYNCS,
    (
        "pydantic:SecretStr",
        "catalog_worker.settings:StoreSettings",
        "catalog_worker.sync.syncs:Syncs",
        "catalog_worker.tables:inbox",
        "catalog_worker.tables:outbox",
        "postroad.storage.inbox:Inbox",
        "postroad.storage.outbox:Outbox",
    ),
    ("catalog_database",),
)

# By the type that a handler names; a name without a dot is a part of other stand-ins.
STAND_INS = {
    "auth_database": _database("auth_worker"),
    "catalog_database": _database("catalog_worker"),
    "auth_service": StandIn(
        _SERVICE,
        (
            "pydantic:SecretStr",
            "auth_worker.settings:AuthSettings",
            "auth_worker.tables:outbox",
            "auth_worker.wiring:AuthService",
            "auth_worker.wiring:build_service",
            "postroad.storage.outbox:Outbox",
        ),
        ("auth_database",),
    ),
    "auth_worker.sessions.Sessions": StandIn(
        _SESSIONS, ("auth_worker.sessions:Sessions",), ("auth_service",)
    ),
    "auth_worker.sign_in.SignIn": StandIn(
        _SIGN_IN, ("auth_worker.sign_in:SignIn",), ("auth_service",)
    ),
    "auth_worker.audit.trail.AuditTrail": StandIn(
        _TRAIL, ("auth_worker.audit.trail:AuditTrail",), ("auth_database",)
    ),
    "catalog_worker.handlers.Catalog": StandIn(
        _CATALOG,
        (
            "time:time",
            "postroad.contracts.catalog:CategoryList",
            "postroad.contracts.catalog:ListProducts",
            "postroad.contracts.catalog:Product",
            "postroad.contracts.catalog:ProductPage",
            "postroad.contracts.message:Dated",
        ),
        type_name="MemoryCatalog",
    ),
    "catalog_worker.sync.handlers.Listing": StandIn(
        _LISTING, ("catalog_worker.listing:Listed",), type_name="MemoryListing"
    ),
    "catalog_worker.sync.syncs.Syncs": _OF_SYNCS,
    "catalog_worker.handlers.SyncBook": replace(_OF_SYNCS, type_name="Syncs"),
}
