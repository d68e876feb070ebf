"""The user's token in an HTTP request."""

from time import monotonic

from http_bridge.asgi.messages import HttpRequest
from http_bridge.http.cookies import ACCESS
from http_bridge.http.problems import NOTHING_GIVEN
from postroad.contracts.errors import NotAuthenticated, Unavailable
from postroad.security.access_tokens import AccessToken, InvalidToken
from postroad.security.token_verifier import Revocations, TokenVerifier


class RequestTokens:
    """Finds and verifies tokens: ``Authorization: Bearer`` (RFC 6750), else a valid cookie."""

    def __init__(self, verifier: TokenVerifier, revocations: Revocations) -> None:
        self._verifier = verifier
        self._revocations = revocations

    def require(self, request: HttpRequest) -> AccessToken:
        """Return the request's verified token.

        Raises:
            NotAuthenticated: there is none, or it is malformed, expired or forged.
            Unavailable: nobody can say whether its session has ended.
        """
        authorization = request.headers.get(b"authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(b" ")
            if scheme.lower() != b"bearer":
                raise NotAuthenticated("the Authorization header must be: Bearer, then the token")
            texts = [text] if (text := token.strip().decode("latin-1")) else []
        else:
            texts = ACCESS.values(request)
        if texts and monotonic() > self._revocations.known_until:
            raise Unavailable("it has not been known for a while which sessions have ended")
        refusals = []
        for text in texts:
            try:
                return self._verifier.verify(text)
            except InvalidToken as error:
                refusals.append(error)
        if refusals:
            raise NotAuthenticated(str(refusals[0])) from refusals[0]
        raise NotAuthenticated(NOTHING_GIVEN)
