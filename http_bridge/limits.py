"""Bounds on what a client may send before its request is even looked at."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_MAX = 100


def limited_protocol(headers_max_bytes: int) -> type[HttpToolsProtocol]:
    """Make uvicorn's HTTP protocol refuse a request line and headers over a total size.

    httptools itself collects headers without end, and minds no missing or second ``Host``
    (RFC 9112 section 3.2). An exception in its callbacks is answered with 400 and the connection
    closed.
    """

    class LimitedProtocol(HttpToolsProtocol):
        _head_bytes = 0

        def on_message_begin(self) -> None:
            self._head_bytes = 0
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value))
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            hosts = sum(name == b"host" for name, _ in self.headers)
            if hosts != 1 and self.parser.get_http_version() != "1.0":
                raise ValueError("a request has one Host")
            super().on_headers_complete()

        def _count(self, size: int) -> None:
            self._head_bytes += size
            if self._head_bytes > headers_max_bytes or len(self.headers) >= HEADERS_MAX:
                raise ValueError("request line and headers are too large")

    return LimitedProtocol
