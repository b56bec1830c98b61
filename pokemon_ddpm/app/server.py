"""Starts and stops the app, and what it refuses before Gradio reads it."""

import logging
import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import gradio as gr
from gradio.route_utils import FnIndexInferError
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_FREE_MODEL, RELEASED_MODEL
from pokemon_ddpm.app.handlers import Handlers
from pokemon_ddpm.app.interface import build_page, theme
from pokemon_ddpm.generation import GenerationSettings, best_dtype
from pokemon_ddpm.models import model_name

MAX_SESSIONS = 100  # visitors with sprites in memory: at most 17 MB each at 64x64 px, usually 1 MB
MAX_BODY = 2**16  # bytes of a request; the settings are about 1 KiB
LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")


class Guard:
    """ASGI middleware: refuses uploads and long requests, and counts in `listeners` who waits for which session."""

    def __init__(self, app: ASGIApp, listeners: Counter):
        self.app, self.listeners = app, listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request, path = Request(scope), scope["path"].rstrip("/")
        if path.endswith("/upload"):
            return await _error("This app takes no files.", 404)(scope, receive, send)
        if "transfer-encoding" in request.headers or int(request.headers.get("content-length", 0)) > MAX_BODY:
            return await _error("The request is too long, or without a length.", 413)(scope, receive, send)
        # The session of a call without one is its event; see `gradio.routes`.
        session = request.query_params.get("session_hash", path.rpartition("/")[2])
        listens = request.method == "GET" and ("/queue/data" in path or "/call/" in path)
        self.listeners[session] += listens
        try:
            await self.app(scope, receive, send)
        finally:
            self.listeners[session] -= listens
            self.listeners += Counter()  # without those of none


def _error(message: str, status: int) -> JSONResponse:
    return JSONResponse({"detail": message}, status)


@dataclass(frozen=True)
class App:
    """The running app."""

    page: gr.Blocks
    folder: tempfile.TemporaryDirectory

    @property
    def url(self) -> str:
        return self.page.share_url or self.page.local_url

    def close(self) -> None:
        """Stops generation and server, and removes all files."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # no traceback for each open connection
        self.page.server.config.timeout_graceful_shutdown = 0.5  # seconds
        self.page.close(verbose=False)
        self.folder.cleanup()


def launch(
    models: Sequence[str] | None = None,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    allowed_hosts: Sequence[str] = (),
    wait: bool = True,
) -> App:
    """Starts the app.

    Args:
        models: Folders, names of released models, or Hub names; the first is the default on the page. By
            default the project's three.
        host: Address to listen on; by default $GRADIO_SERVER_NAME, which a Space sets, or else 127.0.0.1.
        port: By default $GRADIO_SERVER_PORT, or else the first free one from 7860.
        share: Whether Gradio makes a public link.
        allowed_hosts: Names by which visitors may address the app, beside those of this machine; "*.example.org" is
            every name that ends so. By default none, or any if `host` is not of this machine alone.
        wait: Whether to wait for Ctrl-C or SIGTERM, and then end the process.

    Raises:
        ValueError, OSError: If a model cannot be loaded, or the port is taken.
    """
    models = models or [RELEASED_FAST_MODEL, RELEASED_MODEL, RELEASED_FREE_MODEL]
    loaded = {model_name(source): GenerationSettings(source, dtype=best_dtype()).load() for source in models}
    if len(loaded) < len(models):
        raise ValueError("The app needs models with different names.")
    folder = tempfile.TemporaryDirectory(prefix="pokemon-ddpm-", ignore_cleanup_errors=True)
    cache = Path(folder.name).resolve()  # Gradio's cache, the only folder that it serves
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    listeners: Counter = Counter()
    page = build_page(loaded, Handlers(loaded, cache, listeners))
    if not allowed_hosts and (host or os.environ.get("GRADIO_SERVER_NAME", LOCAL[0])) not in LOCAL:
        allowed_hosts = ["*"]
    names = [*allowed_hosts, *LOCAL, *(["*.gradio.live"] if share else [])]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=names), Middleware(Guard, listeners=listeners)]
    unknown = dict.fromkeys([KeyError, FnIndexInferError], lambda *_: _error("There is no such function.", 404))
    page.launch(
        server_name=f"[{host}]" if host and ":" in host else host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        theme=theme(),
        css_paths=Path(__file__).with_name("style.css"),
        footer_links=["api"],
        app_kwargs={"middleware": middleware, "exception_handlers": unknown},
        state_session_capacity=MAX_SESSIONS,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
    )
    app = App(page, folder)
    print(f"{page.title} runs on {app.url}", flush=True)
    if wait:
        _wait(app)
    return app


def _wait(app: App) -> NoReturn:
    """Waits for Ctrl-C or SIGTERM, closes the app, and exits at once: the interpreter's own exit takes seconds."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    app.close()
    os._exit(0)
