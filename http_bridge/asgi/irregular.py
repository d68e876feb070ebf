"""What is seldom on a connection: an offer to speak another protocol, and what is not a request."""

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from http_bridge.asgi.limits import HEADERS_MAX, Limits
from http_bridge.asgi.messages import HttpResponse
from postroad.contracts.errors import InvalidRequest, ServiceError


class RequestTimeout(ServiceError):
    """The request has not come in time, head and body."""

    code = "request_timeout"
    title = "The request took too long to come"


def ignore_offer(protocol: HttpToolsProtocol, rest: memoryview) -> None:
    """Go on with a request that has offered another protocol, and with what came after its head.

    httptools leaves the body of such a request, and all after it, to the other protocol. An offer
    is to be ignored by who does not take it up (RFC 9110 section 7.8).

    Raises:
        HttpParserError: something is wrong with a request.
    """
    while True:
        method, version = protocol.parser.get_method(), protocol.parser.get_http_version()
        lines = [b"%b %b HTTP/%b\r\n" % (method, protocol.url, version.encode())]
        lines += [b"%b: %b\r\n" % header for header in protocol.headers if header[0] != b"upgrade"]
        protocol.parser = HttpRequestParser(protocol)
        protocol.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        protocol.parser.feed_data(b"".join([*lines, b"\r\n"]))
        try:
            protocol.parser.feed_data(rest)
            return
        except HttpParserUpgrade as offer:
            rest = rest[offer.args[0] :]


def fault(error: HttpParserError) -> ServiceError:
    """Return what is wrong with a request; the text never quotes the request."""
    cause = error.__context__
    if isinstance(cause, ServiceError):
        return cause
    reason = "" if isinstance(error, HttpParserCallbackError) else f": {error}"
    return InvalidRequest(f"malformed HTTP{reason}")


def too_much(limits: Limits) -> InvalidRequest:
    most = limits.headers_max_bytes
    return InvalidRequest(f"at most {most} bytes and {HEADERS_MAX} headers before the body")


def hang_up(protocol: HttpToolsProtocol, answer: HttpResponse | None) -> None:
    """Send a last answer, if there is one, and read on: the client may still be sending.

    To close with input unread takes back what was sent (RFC 9112 section 9.6). The request that
    was being read, if any, is given up.
    """
    cycle = protocol.cycle
    if cycle is not None and not cycle.response_complete:  # type: ignore[redundant-expr]
        cycle.disconnected = True
        cycle.message_event.set()
    if answer is not None:
        headers = [
            *protocol.server_state.default_headers,
            *answer.headers,
            (b"content-length", b"%d" % len(answer.body)),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = [STATUS_LINE[answer.status], *lines, b"\r\n"]
        protocol.transport.write(b"".join([*head, answer.body]))
    protocol.flow.resume_reading()
    protocol.transport.write_eof()
