"""What the auth service does: one function for each contract. They run in threads."""

from contextlib import suppress
from functools import partial

from auth_worker.passwords import BadPassword
from auth_worker.refresh_tokens import name_use
from auth_worker.sessions import Sessions, Tokens
from auth_worker.sign_in import SignIn
from auth_worker.users import User
from postroad.context import current_context
from postroad.contracts.auth import (
    REFRESH_CONTEXT,
    ChangePassword,
    CreateSession,
    Ended,
    EndOwnSession,
    EndSession,
    GetOwnUser,
    ListOwnSessions,
    ListRevocations,
    OwnSessionList,
    PasswordChanged,
    RefreshSession,
    RevocationList,
    Session,
    UserProfile,
    former_password_context,
    new_password_context,
    password_context,
)
from postroad.contracts.errors import InvalidRefreshToken, InvalidRequest, NotAuthenticated
from postroad.contracts.probes import ProbeSessions, Readiness
from postroad.security.access_tokens import AccessToken
from postroad.security.keyring import KeyRing
from postroad.security.sealing import CannotUnseal, seal, unseal
from postroad.storage.database import Database


def create_session(request: CreateSession, *, sign_in: SignIn, keys: KeyRing) -> Session:
    """Sign a user in."""
    password = _unseal_password(request, keys)
    tokens = sign_in.sign_in(
        request.username,
        password,
        request.client_address,
        device_token=request.device_token,
        replaces=_replaced(request.sealed_refresh_token, keys),
        deadline=current_context.get().deadline,
    )
    return _session(tokens, keys)


def refresh_session(request: RefreshSession, *, sessions: Sessions, keys: KeyRing) -> Session:
    """Trade a refresh token for new tokens; a redelivery gets the same refresh token again."""
    token = _unseal_refresh_token(request.sealed_refresh_token, keys)
    return _session(sessions.refresh(token, name_use(current_context.get())), keys)


def end_session(request: EndSession, *, sessions: Sessions, keys: KeyRing) -> Ended:
    """Sign out; a session that has ended stays so."""
    user = current_context.get().user
    if user is None and request.sealed_refresh_token is None:
        raise NotAuthenticated("neither an access token nor a refresh token")
    if user is not None:
        sessions.end(user.session_id)
    if request.sealed_refresh_token is not None:
        sessions.end_by_token(_unseal_refresh_token(request.sealed_refresh_token, keys))
    return Ended()


def get_own_user(_request: GetOwnUser, *, sessions: Sessions) -> UserProfile:
    """Say who the user is, from the database: their token may be a quarter of an hour old."""
    _, user = _signed_in(sessions)
    return UserProfile(
        user_id=user.id,
        username=user.username,
        roles=list(user.roles),
        scopes=list(user.scopes),
    )


def list_own_sessions(_request: ListOwnSessions, *, sessions: Sessions) -> OwnSessionList:
    """List the user's sessions that have not ended."""
    token, user = _signed_in(sessions)
    return OwnSessionList(data=sessions.open_of(user, current=token.session_id))


def end_own_session(request: EndOwnSession, *, sessions: Sessions) -> Ended:
    """End a session of the user's, and of nobody else's; one that has ended stays so."""
    _, user = _signed_in(sessions)
    sessions.end_of(user, request.session_id)
    return Ended()


def change_password(
    request: ChangePassword, *, sign_in: SignIn, sessions: Sessions, keys: KeyRing
) -> PasswordChanged:
    """Change the user's password, and end all their other sessions."""
    token, user = _signed_in(sessions)
    asked = current_context.get()
    context = partial(
        new_password_context,
        caller=asked.caller,
        message_id=asked.message_id,
        deadline=asked.deadline,
    )
    try:
        return sign_in.change_password(
            user,
            unseal(request.sealed_password, context=context("current"), identity=keys.identity),
            unseal(request.sealed_new_password, context=context("new"), identity=keys.identity),
            request.client_address,
            session_id=token.session_id,
            device_token=request.device_token,
            deadline=asked.deadline,
        )
    except CannotUnseal as error:
        raise InvalidRequest(f"a sealed password: {error}") from error
    except BadPassword as error:
        raise InvalidRequest(f"the new password: {error}") from error


def list_revocations(request: ListRevocations, *, sessions: Sessions) -> RevocationList:
    """List the sessions whose access tokens are void."""
    return RevocationList(data=sessions.revoked(after=request.after, limit=request.limit))


def probe_sessions(_request: ProbeSessions, *, database: Database) -> Readiness:
    return Readiness(problem=database.problem())


def _signed_in(sessions: Sessions) -> tuple[AccessToken, User]:
    """Return the request's access token, and the user whose session has not ended."""
    token = current_context.get().user
    if token is None:
        raise NotAuthenticated("no access token")
    user = sessions.user_of(token.session_id)
    if user is None:
        raise NotAuthenticated("the session has ended")
    return token, user


def _unseal_password(request: CreateSession, keys: KeyRing) -> str:
    """Open a password that was sealed for this very request, or before 0.2 for its user."""
    asked = current_context.get()
    context = password_context(
        request.username,
        caller=asked.caller,
        message_id=asked.message_id,
        deadline=asked.deadline,
    )
    for each in (context, former_password_context(request.username)):
        try:
            return unseal(request.sealed_password, context=each, identity=keys.identity)
        except CannotUnseal as error:
            refusal = error
    raise InvalidRequest(f"sealed_password: {refusal}") from refusal


def _replaced(sealed: str | None, keys: KeyRing) -> str | None:
    if sealed is not None:
        with suppress(InvalidRefreshToken):  # whose session is over, or none of ours
            return _unseal_refresh_token(sealed, keys)
    return None


def _unseal_refresh_token(sealed: str, keys: KeyRing) -> str:
    try:
        return unseal(sealed, context=REFRESH_CONTEXT, identity=keys.identity)
    except CannotUnseal as error:
        raise InvalidRefreshToken from error


def _session(tokens: Tokens, keys: KeyRing) -> Session:
    """Put tokens into a reply, the refresh token for the calling service's eyes alone."""
    sealed = seal(
        tokens.refresh_token,
        to=current_context.get().caller,
        context=REFRESH_CONTEXT,
        trust=keys.trust,
    )
    return Session(
        access_token=tokens.access_token,
        expires_in=tokens.expires_in,
        sealed_refresh_token=sealed,
        refresh_expires_in=tokens.refresh_expires_in,
        user_id=tokens.user_id,
        device_token=tokens.device_token,
    )
