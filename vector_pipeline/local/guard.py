"""What stands before Dagster's web server: requests that another web page made are refused.

Whoever can send a request to the UI can launch runs, which spend money and delete rows. The UI has no password, so on
one's own machine the browser is the way in: any page may send requests to 127.0.0.1, and a name that its owner points
there (DNS rebinding) even reads the answers. https://owasp.org/www-community/attacks/csrf
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import parse_qs, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# "none" is an address that a person typed in.
SAME_SITE = frozenset({"same-origin", "none"})


class SameOriginOnly:
    """An ASGI application that passes on only requests which the UI itself, or no browser at all, made."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower(), *map(str.lower, hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or close the socket, where the request is refused."""
        reason = self.refusal(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse(f"{reason}\n", status_code=403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": reason})

    def refusal(self, scope: Scope) -> str | None:
        """Why a request is refused; None where it is not."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"the host '{host[:100]}' is not this machine; open the UI by its address, or name it with --host"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "the request comes from another web page"
        if headers.get("sec-fetch-site", "none") not in SAME_SITE and scope.get("method") != "GET":
            return "the request comes from another web page"
        if scope.get("method") == "GET" and "query" in parse_qs(scope.get("query_string", b"").decode("latin-1")):
            # Dagster also carries out mutations that come by GET, which an image of any page can send.
            return "a GraphQL query is taken by POST only"
        return None

    def _is_ours(self, host: str) -> bool:
        name = (urlsplit(f"//{host}").hostname or "").lower()
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)  # an address cannot be pointed elsewhere, as a name can
        except ValueError:
            return False
        return True
