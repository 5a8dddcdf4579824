"""What the log says of requests that are none: a line each, whatever was sent."""

import logging
from typing import Any, Optional

from aiohttp.http_exceptions import HttpProcessingError

LONGEST_TEXT = 200


class OneLine(logging.LoggerAdapter):
    """The logger of aiohttp, which logs the stack of its own parser for each malformed request."""

    def log(self, level: int, msg: object, *args: Any, exc_info: Optional[BaseException] = None, **named: Any) -> None:
        """Logs as the logger does, but for malformed requests, of which ``args`` has the sender."""
        if isinstance(exc_info, HttpProcessingError):
            self.logger.warning("refused a malformed request of %s: %s", *args, quoted(exc_info.message))
        else:
            super().log(level, msg, *args, exc_info=exc_info, **named)


def quoted(text: str) -> str:
    """A text of a stranger for the log: on one line, without control characters, and not too long."""
    return repr(text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ...")
