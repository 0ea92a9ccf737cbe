"""A guard in front of Dagster's web server: it refuses requests of other web pages.

Anyone who can send a request to the UI can launch runs, which spend money and delete rows. The UI has no password, so on
a user's own machine the browser is the entry: any page may send requests to 127.0.0.1, and a page whose host name points
there (DNS rebinding) can even read the answers. https://owasp.org/www-community/attacks/csrf
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import SplitResult, parse_qs, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# "none" means that a person typed the address.
SAME_SITE = frozenset({"same-origin", "none"})


class SameOriginOnly:
    """An ASGI application that accepts only requests of the UI itself, or of clients that are not browsers."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower(), *map(str.lower, hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. If it is refused, answer 403 or close the socket."""
        reason = self.refusal(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse(f"{reason}\n", status_code=403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": reason})

    def refusal(self, scope: Scope) -> str | None:
        """The reason to refuse a request; None to accept it."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"the host '{host[:100]}' is not this machine; open the UI by its address, or name it with --host"
        origin = headers.get("origin")
        if origin is not None and _parsed(origin).netloc.lower() != host.lower():
            return "the request comes from another web page"
        if headers.get("sec-fetch-site", "none") not in SAME_SITE and scope.get("method") != "GET":
            return "the request comes from another web page"
        if scope.get("method") in ("GET", "HEAD") and "query" in parse_qs(
            scope.get("query_string", b"").decode("latin-1")
        ):
            # Dagster also executes mutations sent by GET, which an image in any page can send.
            return "a GraphQL query is accepted by POST only"
        return None

    def _is_ours(self, host: str) -> bool:
        name = (_parsed(f"//{host}").hostname or "").lower()
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)  # an address cannot be made to point elsewhere, unlike a name
        except ValueError:
            return False
        return True


def _parsed(address: str) -> SplitResult:
    """The parts of an address; empty ones for what is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
