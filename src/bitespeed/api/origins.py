"""Which web pages may use the service while it needs no API key.

A page in a browser can send requests to every address that its machine reaches: to another site
without reading the answer, and, by a name that its owner points at that address (DNS rebinding),
reading it too. A key keeps them out, since no page has it. Where no key is needed, the headers do
that a browser sets and a page cannot change: Host, Origin and Sec-Fetch-Site. Other clients send
none that is refused here, but for a Host that is not known.

See "Web pages of others" in docs/security.md.
"""

import re
from collections.abc import Iterable

from bitespeed.api.http import Headers
from bitespeed.errors import Forbidden
from bitespeed.settings import is_loopback

_AUTHORITY = re.compile(rb"(?:\[([0-9a-f:.]+)\]|([^:\[\]@/]+?)\.?)(?::[0-9]*)?")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}
_OWN_SITES = {None, b"same-origin", b"none"}
"""Values of Sec-Fetch-Site: of no browser, of a page of ours, of an address that a person typed.
``same-site`` is another port or another name of the same owner, so another service.
"""


class Origins:
    """Decides by the headers of a request that comes without a key."""

    def __init__(self, hostnames: Iterable[str], *, checks_host: bool) -> None:
        """``hostnames`` are those of the service besides loopback names and addresses."""
        self._names = {name.encode() for name in hostnames}
        self._checks_host = checks_host
        self._last_host: bytes | None = None

    def allows_at_once(self, headers: Headers) -> bool:
        """Whether the request is certainly allowed. False says nothing: use `check`."""
        host = headers.get(b"host")
        return (
            (host == self._last_host or self._is_own(host))
            and b"origin" not in headers
            and headers.get(b"sec-fetch-site") in _OWN_SITES
        )

    def check(
        self, headers: Headers, *, opens_in_browser: bool = False, is_mounted: bool = False
    ) -> None:
        """Raise `Forbidden` for a request that a page of another site may have sent.

        ``opens_in_browser``, a person may follow a link from another site. ``is_mounted``, an
        application around this one has checked the Host.
        """
        host = headers.get(b"host")
        if not is_mounted and not self._is_own(host):
            raise Forbidden(
                "This service does not know the Host of the request; name it in"
                " BITESPEED_HOSTNAMES, or use an API key"
            )
        if opens_in_browser and _is_navigation(headers):
            return
        origin = headers.get(b"origin")
        is_foreign = origin is not None and (host is None or not _is_same(origin, host))
        if is_foreign or headers.get(b"sec-fetch-site") not in _OWN_SITES:
            raise Forbidden("A page of another site may not use this service without an API key")

    def _is_own(self, host: bytes | None) -> bool:
        """Whether the service is meant by this Host. Every browser sends one."""
        if host is None or host == self._last_host or not self._checks_host:
            return True
        is_own = self._is_known(host)
        if is_own:
            self._last_host = host  # mostly the same one; comparing it costs next to nothing
        return is_own

    def _is_known(self, host: bytes) -> bool:
        parts = _AUTHORITY.fullmatch(host.lower())
        if parts is None:
            return False
        name = parts[1] or parts[2]
        return name in self._names or is_loopback(name.decode("latin-1"))


def _is_navigation(headers: Headers) -> bool:
    """Whether a browser opens the answer as a page of its own, not within another one."""
    return (
        headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
    )


def _is_same(origin: bytes, host: bytes) -> bool:
    """Whether a page of this Origin is served under this Host, on the same port."""
    scheme, _, authority = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme)
    host = host.lower()
    return port is not None and authority in {host, host.removesuffix(port)}
