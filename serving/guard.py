"""Who may ask, and what every answer says about itself to browsers."""

import hmac
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.settings import Refused, Settings

LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: refuses what browsers send for other pages, and adds the security headers.

    A service on this machine's loopback answers only under its loopback names, so that no page of the internet can have
    a name of its own lead to it.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        problem = self._problem({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})
        answer = JSONResponse({"error": problem}, 403) if problem else self.app
        await answer(scope, receive, guarded)

    def _problem(self, headers):
        host = headers.get("host", "")
        if self.settings.on_loopback and _name(host) not in LOOPBACK:
            return f"'{host[:100]}' is not a name of this service, which answers this machine only"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return f"requests from '{origin[:100]}' are not answered; open the page of this service"
        return None


def _name(host):
    """A Host header without its port."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def require_token(settings: Settings, authorization: str | None) -> None:
    """Raise Refused (401) unless the header brings the token of the service. Takes the same time for any wrong one."""
    if settings.token is None:
        return
    kind, _, given = (authorization or "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), settings.token.encode())
    if kind.lower() != "bearer" or not right:
        raise Refused(401, "the token is missing or wrong; send the header 'Authorization: Bearer TOKEN'")
