"""One answer after another, read from what a connection gives: llhttp parses, and everything is bounded."""

from __future__ import annotations

from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

KEPT_BYTES: Final = 1024
READ_BYTES: Final = 16 * 1024
"""Of the body: more than is kept, because only a finished answer leaves its connection usable."""
MAX_FRAMING: Final = 32 * 1024
"""What chunk sizes, their extensions and the trailer may take beside the body."""
MAX_HEAD: Final = 32 * 1024
"""With all interim answers before it."""
MAX_HEADERS: Final = 100
MAX_INTERIM: Final = 8
SWITCHING_PROTOCOLS: Final = 101


class BadReplyError(Exception):
    """What came is no HTTP/1 answer, or its head has no end."""


class Reply:
    """The answer that is being read; `reset` makes it ready for the next one on the same connection.

    `status`: 0 until the whole head is here. `ended`: there is nothing more to wait for.
    `reusable`: it ended where it said it would, nothing followed, and the connection stays.
    """

    __slots__ = (
        "_headers",
        "_interim",
        "_parser",
        "_raw",
        "_raw_at_head",
        "_seen",
        "_why",
        "ended",
        "kept",
        "retry_after",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self._parser: Any = HttpResponseParser(self)
        self.reset()

    def reset(self) -> None:
        self.status = 0
        self.ended = self.reusable = False
        self.retry_after: bytes | None = None
        self.kept = b""
        self._raw = self._raw_at_head = self._seen = self._headers = self._interim = 0
        self._why: str | None = None

    def feed(self, data: bytes) -> None:
        """Reads on. Raises `BadReplyError` for anything wrong before the end of the head; after that the
        status stands, and whatever is wrong ends the answer."""
        room = MAX_HEAD - self._raw
        self._raw += len(data)
        if not self.status and len(data) > room:
            self._parse(data[:room])
            if not self.status:
                raise BadReplyError(f"the head of the answer is longer than {MAX_HEAD} bytes")
            data = data[room:]
        self._parse(data)
        if not self.ended and self._raw - self._raw_at_head > READ_BYTES + MAX_FRAMING and self.status:
            self.cut()

    def cut(self) -> None:
        """Ends the answer here: by the end of the connection, or because we waited or read enough."""
        self.ended, self.reusable = True, False

    def close(self) -> None:
        """Lets go of the parser, which refers back to us."""
        self._parser = None

    def _parse(self, data: bytes) -> None:
        if not data or self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.status:
                raise BadReplyError(self._why or f"not an HTTP/1.1 answer: {error}") from None
            self.cut()

    # -- called by the parser; what they raise ends `feed_data` ---------------------------------------------

    def on_message_begin(self) -> None:
        if self.status:
            raise self._refuse("another answer follows the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer: it has no say
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise self._refuse(f"the answer has more than {MAX_HEADERS} headers")
        if len(name) == 11 and self.retry_after is None and name.lower() == b"retry-after":
            self.retry_after = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == SWITCHING_PROTOCOLS:
            self.status, self._raw_at_head = status, self._raw
            return
        if status < 100:
            raise self._refuse(f"the answer has the status {status:03}")
        self._interim += 1
        self.retry_after = None
        if self._interim > MAX_INTERIM:
            raise self._refuse(f"more than {MAX_INTERIM} interim answers came")

    def on_body(self, data: bytes) -> None:
        if self._seen < KEPT_BYTES:
            self.kept += data[: KEPT_BYTES - self._seen]
        self._seen += len(data)
        if self._seen > READ_BYTES:
            raise self._refuse("the body is longer than anybody reads")

    def on_message_complete(self) -> None:
        if self.status:
            self.ended = True
            self.reusable = self.status != SWITCHING_PROTOCOLS and self._parser.should_keep_alive()

    def _refuse(self, why: str) -> BadReplyError:
        self._why = why
        return BadReplyError(why)
