"""HTTP to addresses that users typed: resolved once, checked, pinned, without redirects, within a deadline.

The name is resolved here and the connection goes to that very address, so a name that answers differently the second
time (DNS rebinding) gains nothing. Proxies of the environment are not asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

CONNECT_SECONDS = 5
READ_SECONDS = 10
DEADLINE_SECONDS = 15
MOST_ADDRESS_CHARACTERS = 500
WELL_KNOWN_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
# Addresses of IPv4 hosts written as IPv6, through which a translator on the way would reach them.
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(Exception):
    """This server does not send to that address, and the message says why."""


class NoAnswer(Exception):
    """The other side could not be reached or did not answer properly in time."""


@dataclass(frozen=True)
class Answer:
    status: int
    milliseconds: int


def check(url: str) -> SplitResult:
    """The parts of an address that may be sent to, by its looks alone. Raises AddressRefused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused(_("This is not an address.")) from None
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MOST_ADDRESS_CHARACTERS
    if not plain or not parts.hostname:
        raise AddressRefused(_("This is not an address."))
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.WEBHOOK_ALLOW_PRIVATE):
        raise AddressRefused(_("The address has to begin with https://."))
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise AddressRefused(_("An address with a user name, password or fragment is not accepted."))
    if port is not None and port not in WELL_KNOWN_PORTS and port < FIRST_FREE_PORT:
        raise AddressRefused(_("Ports below 1024 are refused, but for 80 and 443."))
    return parts


def resolve(parts: SplitResult) -> str:
    """The numeric address to connect to. Raises AddressRefused where the name leads to a private network at all,
    NoAnswer where it leads nowhere."""
    assert parts.hostname is not None
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoAnswer(_("The host name could not be resolved.")) from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise NoAnswer(_("The host name could not be resolved."))
    if not settings.WEBHOOK_ALLOW_PRIVATE and not all(is_public(one) for one in addresses):
        raise AddressRefused(_("The address belongs to a private network."))
    return str(addresses[0])


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet, also where an IPv4 address hides in an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def post(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Send `body`; the answer's own body is not read. Raises AddressRefused or NoAnswer."""
    parts = check(url)
    connection = _connection(parts, resolve(parts))
    began = time.monotonic()
    # Timeouts count between two bytes; the deadline ends a peer that sends one byte at a time.
    watchdog = threading.Timer(DEADLINE_SECONDS, _cut, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(_reason(error)) from error
    finally:
        watchdog.cancel()
        connection.close()
    return Answer(status, round((time.monotonic() - began) * 1000))


class _Pinned(http.client.HTTPConnection):
    """Speaks to `address` in the name of `host`."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=READ_SECONDS)
        self.address, self.context = address, context
        self.default_port = 443 if context else 80

    def connect(self) -> None:
        raw = socket.create_connection((self.address, self.port), CONNECT_SECONDS)
        raw.settimeout(READ_SECONDS)
        self.sock = raw
        if self.context is not None:
            self.sock = self.context.wrap_socket(raw, server_hostname=self.host)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _connection(parts: SplitResult, address: str) -> _Pinned:
    assert parts.hostname is not None
    return _Pinned(parts.hostname, _port(parts), address, _tls() if parts.scheme == "https" else None)


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _cut(connection: http.client.HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _reason(error: Exception) -> str:
    """In words, without what the other side sent: it may be a page of somebody's own network."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _("Its certificate is not trusted.")
    if isinstance(error, ssl.SSLError):
        return _("No secure connection could be made.")
    if isinstance(error, TimeoutError):
        return _("It did not answer in time.")
    if isinstance(error, ConnectionRefusedError):
        return _("Nothing listens there.")
    return _("The connection broke off.") if isinstance(error, OSError) else _("It did not answer in HTTP.")
