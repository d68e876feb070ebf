"""A bound on what a client may send before its request is even looked at."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def limited_protocol(headers_max_bytes: int) -> type[HttpToolsProtocol]:
    """Make uvicorn's HTTP protocol refuse a request line and headers over a total size.

    httptools itself collects headers without end. An exception in its callbacks is answered with
    400 and the connection closed.
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

        def _count(self, size: int) -> None:
            self._head_bytes += size
            if self._head_bytes > headers_max_bytes:
                raise ValueError("request line and headers are too large")

    return LimitedProtocol
