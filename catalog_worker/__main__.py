"""Start the catalogue service: ``python -m catalog_worker``."""

from catalog_worker.settings import CatalogSettings
from catalog_worker.wiring import STORE, build
from postroad.runtime.serve import serve

if __name__ == "__main__":
    serve(build, settings=CatalogSettings, store=STORE)
