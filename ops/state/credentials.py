"""The keys and certificates in a state folder, made when they are first needed."""

from collections.abc import Iterable, Sequence

from ops.state.certificates import Authority
from ops.state.files import make_folder
from ops.state.folder import SHARED_MODE, StateError, StateFolder
from postroad.security.keys import Identity, KeyFileError

_SHARED_FOLDER_MODE = 0o755


def identity(state: StateFolder, service: str) -> Identity:
    """Return a service's keys, made the first time.

    Raises:
        StateError: the file is broken, or another service's.
    """
    path = state.identity_file(service)
    with state.usable(path):
        if not path.exists():
            make_folder(path.parent)
            Identity.create(service).save(path)
        try:
            found = Identity.load(path)
        except KeyFileError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise ValueError("it holds no keys of a service") from None
    if found.service != service:
        raise StateError(state.broken(path, f"it holds the keys of {found.service}"))
    return found


def certificates(
    state: StateFolder, services: Iterable[str], broker_hosts: Sequence[str] = ()
) -> list[str]:
    """Make or renew certificates of services and of a broker; return the names of the new ones.

    Raises:
        StateError: a file cannot be made or is broken.
    """
    with state.usable(state.authority_folder):
        make_folder(state.authority_folder)
        authority = Authority(state.authority_folder)
    new = []
    if broker_hosts:
        folder = state.broker_folder / "tls"
        with state.usable(folder):
            make_folder(folder)
            folder.chmod(_SHARED_FOLDER_MODE)
            if authority.keep(folder, "broker", hosts=broker_hosts, mode=SHARED_MODE):
                new.append("broker")
    for service in services:
        folder = state.own_folder(service) / "tls"
        with state.usable(folder):
            make_folder(folder)
            if authority.keep(folder, service):
                new.append(service)
    return new
