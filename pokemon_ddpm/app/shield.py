"""What of Gradio's server can be reached: the page, its events and the files that it wrote; no more.

Gradio offers much that the page has no use for: uploads, a proxy, files by their URL, saved links, an editor. And it
would fetch a file that a request names as an input. All of that is refused before Gradio sees it.
"""

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pokemon_ddpm.app.limits import BODY_SECONDS, MAX_BODY

API = "/gradio_api"
READ = re.compile(
    r"/|/(assets|static|svelte)/.+|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|pwa_icon)/?"
    rf"|{API}/(info|openapi\.json|startup-events|app_id|theme\.css|queue/(data|status))/?"
    rf"|{API}/heartbeat/[\w-]{{1,64}}|{API}/call/(v2/)?\w+/\w+"
)
WRITTEN = re.compile(rf"{API}/(queue/join|run/predict|cancel|reset|call/(?P<named>v2/)?\w+)/?")
FILE = f"{API}/file="
# Gradio remembers every session's name for as long as it runs.
SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)
# The page comes from this server alone, and so must all that it loads: no fonts, scripts or pictures from elsewhere.
# What frames it is not said: a Space stands in a frame of the Hub.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
logger = logging.getLogger(__name__)


class Shield:
    """ASGI middleware around Gradio.

    Args:
        app: Gradio's.
        folder: The only one whose files can be read.
    """

    def __init__(self, app: ASGIApp, folder: Path):
        self._app = app
        self._folder = folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has Gradio do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # Gradio has no web sockets

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in HEADERS]
                message = {**message, "headers": [*kept, *HEADERS.items()]}
            await send(message)

        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD") and (READ.fullmatch(path) or self._is_ours(path)):
            await self._have_answered(scope, receive, answer)
        elif method == "POST" and (found := WRITTEN.fullmatch(path)):
            # Of another site's page a browser asks first whether it may send such a thing, and of nothing else.
            if not Headers(scope=scope).get("content-type", "").startswith("application/json"):
                await PlainTextResponse("A request is JSON.", 415)(scope, receive, answer)
                return
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    body = await _read(receive)
            except TimeoutError:
                await PlainTextResponse("The request took too long to arrive.", 408)(scope, receive, answer)
                return
            if body is None:
                await PlainTextResponse(f"A request may have {MAX_BODY} bytes.", 413)(scope, receive, answer)
            elif not _is_plain(body, by_name=bool(found["named"])):
                await PlainTextResponse("A request's values are words and numbers.", 422)(scope, receive, answer)
            else:
                await self._have_answered(scope, _again(body, receive), answer)
        elif method == "OPTIONS":
            await self._have_answered(scope, receive, answer)  # a browser asks whether another site's page may call
        else:
            await PlainTextResponse("There is nothing here.", 404)(scope, receive, answer)

    async def _have_answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Has Gradio answer, which stumbles over calls that there are not, and over sessions that have ended."""
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            logger.warning("No answer to %.200r: %.200r", scope["path"], error)
            if not begun:
                text = f"There is nothing here. {API}/info says what can be called, and with what."
                await PlainTextResponse(text, 404)(scope, receive, send)

    def _is_ours(self, path: str) -> bool:
        """Whether a file of the app's folder is asked for."""
        if not path.startswith(FILE):
            return False
        try:
            return self._folder in Path(path.removeprefix(FILE)).resolve().parents
        except (OSError, ValueError):  # a name that none can have
            return False


async def _read(receive: Receive) -> bytes | None:
    """A request's body; None if it is too long or never ends."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Lets somebody else read a body that has been read."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return left.pop() if left else await receive()

    return read


def _is_plain(body: bytes, by_name: bool) -> bool:
    """Whether a call's inputs are all words, numbers, truth values or nothing: what else there is may name a file."""
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(asked, dict):
        return False
    session = asked.get("session_hash")
    if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
        return False
    values = list(asked.values()) if by_name else asked.get("data", [])
    return isinstance(values, list) and not any(isinstance(value, dict | list) for value in values)
