"""Who comes to the app: from which address, by which name of the machine, and how often at a time."""

import os
from collections import Counter
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pokemon_ddpm.app.limits import OPEN_PER_ADDRESS

THIS_MACHINE = frozenset(("localhost", "127.0.0.1", "::1"))


class Door:
    """ASGI middleware that lets requests in, and notes in `scope["client"]` from where they really come.

    Args:
        app: Whose requests they are.
        names: What the machine may be called; None for whatever it is called. On one's own machine other names are
            refused, lest another site's page give its own name this machine's address and so read what is there.
        most: How many requests of one address may be open.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] | None, most: int = OPEN_PER_ADDRESS):
        self._app, self._names, self._most = app, names, most
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers that it is too much, or has the app answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._names is not None and _name(headers.get("host", "")) not in self._names:
            told = "This app is for its own machine: open it as localhost, or start it with --public."
            await PlainTextResponse(told, 403)(scope, receive, send)
            return
        address = _address(scope, headers)
        if self._open[address] >= self._most:
            told = "Too many requests from your address are open. Try again in a moment."
            await PlainTextResponse(told, 429, {"Retry-After": "5"})(scope, receive, send)
            return
        self._open[address] += 1
        try:
            await self._app({**scope, "client": (address, 0)}, receive, send)
        finally:
            self._open -= Counter((address,))  # which forgets those who have none


def _name(host: str) -> str | None:
    """A host's name without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _address(scope: Scope, headers: Headers) -> str:
    """From where a request comes. To a Space all come from the Hub's proxy, which adds the address at the end."""
    forwarded = ",".join(headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
    if forwarded and "SPACE_ID" in os.environ:
        return forwarded
    client = scope.get("client")
    return client[0] if client else "nowhere"
