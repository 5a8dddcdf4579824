"""Connections to the server, of which none can lock the others out.

A connection that has not asked for anything in time is closed, and where there are too many the oldest gives way.
Sessions have places and limits of their own.
"""

import asyncio
from typing import Callable, Dict

from leap_fairseq.serve.websocket import Limits


class Connections:
    """Makes the protocol of each new connection, and watches over the connection.

    Args:
        make_protocol: aiohttp's server, which speaks HTTP.
        limits: of the server.
    """

    def __init__(self, make_protocol: Callable[[], asyncio.Protocol], limits: Limits):
        self._make_protocol, self._limits = make_protocol, limits
        self._ends: Dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def __call__(self) -> asyncio.Protocol:
        return _Watched(self._make_protocol(), self)

    def opened(self, transport: asyncio.Transport) -> None:
        """Gives a connection its time; the oldest is closed where they are too many."""
        while len(self._ends) >= self._limits.max_connections:
            oldest = next(iter(self._ends))
            self.released(oldest)
            oldest.abort()
        loop = asyncio.get_running_loop()
        self._ends[transport] = loop.call_later(self._limits.header_seconds, transport.abort)

    def asked(self, transport: asyncio.Transport) -> None:
        """The head of a request is complete: from now on aiohttp knows when the connection is idle."""
        if transport in self._ends:
            self._ends[transport].cancel()

    def released(self, transport: asyncio.Transport) -> None:
        """The connection is closed, or has become a session."""
        self.asked(transport)
        self._ends.pop(transport, None)


class _Watched(asyncio.Protocol):
    """aiohttp's protocol, of which begin and end are told."""

    def __init__(self, protocol: asyncio.Protocol, connections: Connections):
        self._protocol, self._connections = protocol, connections
        self.data_received, self.eof_received = protocol.data_received, protocol.eof_received
        self.pause_writing, self.resume_writing = protocol.pause_writing, protocol.resume_writing

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._connections.opened(transport)
        self._protocol.connection_made(transport)

    def connection_lost(self, error) -> None:
        self._connections.released(self._transport)
        self._protocol.connection_lost(error)
