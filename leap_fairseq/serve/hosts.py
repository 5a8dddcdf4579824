"""By which names a browser may ask for the server.

A page of another site can let a name of its own point to this machine, and then counts as of the same origin
(DNS rebinding). What such a page cannot choose is the name in its requests.

Source: RFC 9110, section 7.2, on the Host header.
"""

import ipaddress
from typing import Collection, Optional
from urllib.parse import urlsplit


class AllowedHosts:
    """The names of a server: those of this machine for itself, where it listens, and further ones.

    Args:
        host: address or name where the server listens. At all addresses of the machine, any address is a name of it:
            an address in place of a name cannot be rebound.
        names: further names, such as the one of a proxy.

    Raises:
        ValueError: a name that is none, or has more than a name.
    """

    def __init__(self, host: str, names: Collection[str] = ()):
        for name in names:
            if name_of(f"[{name}]" if ":" in name else name) != name.lower():
                raise ValueError(f"{name!r} is no name of a host: give it without scheme, port and path (--allow-host)")
        self._names = {host.lower(), "localhost", *map(str.lower, names)}
        listens_at = _address(host)
        self._any_address = listens_at is not None and listens_at.is_unspecified

    def allow(self, header: str) -> bool:
        """Whether a request with this Host header is for this server.

        Args:
            header: name or address, with or without a port.
        """
        name = name_of(header)
        if name is None:
            return False
        address = _address(name)
        return name in self._names or (address is not None and (self._any_address or address.is_loopback))


def name_of(header: str) -> Optional[str]:
    """Name or address of a Host header, in lower case and without the port and a dot at the end; None if it is none."""
    try:
        parts = urlsplit(f"//{header}")
        parts.port  # noqa: B018 - it raises where it is no number
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or not parts.hostname:
        return None
    return parts.hostname.removesuffix(".")


def _address(name: str) -> Optional[ipaddress._BaseAddress]:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
