"""Starts and stops the app."""

import json
import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import gradio as gr
from fastapi import Depends, HTTPException, Request
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pokemon_ddpm.app import style
from pokemon_ddpm.app.handlers import Handlers
from pokemon_ddpm.app.interface import TITLE, Page
from pokemon_ddpm.app.requests import load_model

THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
MAX_BODY = 2**20  # bytes of a request
MAX_SESSIONS = 200  # visitors with sprites in memory: at most 11 MB each at 64x64 px, usually 3 MB
# Routes of Gradio that write files or fetch URLs for anyone, and that the page does not use.
UNUSED = "/gradio_api/(upload|deep_link|process_recording|component_server|proxy=|file=http|file/)"


async def refuse_files(request: Request) -> None:
    """Refuses the routes of `UNUSED`, and JSON with a file among its values: Gradio would fetch it from any URL."""
    if re.search(UNUSED, request.scope["path"]):
        raise HTTPException(404)
    if request.method == "POST" and "json" in request.headers.get("content-type", ""):
        body = await request.json()
        values = body.get("data", body) if isinstance(body, dict) else body
        if "gradio.FileData" in json.dumps(values):
            raise HTTPException(422, "Values are text and numbers, not files.")


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
    models: Sequence[str],
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    public: bool = True,
    wait: bool = True,
) -> App:
    """Starts the app.

    Args:
        models: Folders, names of released models, or Hub names; the first is the default on the page.
        host: Address to listen on; by default $GRADIO_SERVER_NAME, which a Space sets, or else 127.0.0.1.
        port: By default $GRADIO_SERVER_PORT, or else the first free one from 7860.
        share: Whether Gradio makes a public link.
        public: Whether others can reach the app. Then no other models can be loaded, and a generation has a time
            limit. `share` implies it.
        wait: Whether to wait for Ctrl-C or SIGTERM, and then end the process.

    Raises:
        ValueError, OSError: If a model cannot be loaded, or the port is taken.
    """
    public = public or share
    loaded = [load_model(source, public) for source in models]
    if not len({model.name for model in loaded}) == len(models) > 0:
        raise ValueError("The app needs one or more models with different names.")
    folder = tempfile.TemporaryDirectory(prefix="pokemon-ddpm-", ignore_cleanup_errors=True)
    cache = Path(folder.name).resolve()  # Gradio's cache, the only folder that it serves
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    page = Page(loaded, Handlers(loaded, cache, public), public).blocks
    server_name = f"[{host}]" if host and ":" in host else host
    middleware = [Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY)]
    if not public:  # no other site's name can lead to the app
        hosts = [*THIS_MACHINE, server_name or "localhost"]
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False))
    page.launch(
        server_name=server_name,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        theme=style.theme(),
        css=style.CSS,
        footer_links=["api"],
        app_kwargs={"middleware": middleware, "dependencies": [Depends(refuse_files)]},
        state_session_capacity=MAX_SESSIONS,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
    )
    app = App(page, folder)
    print(f"{TITLE} runs on {app.url}", flush=True)
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
