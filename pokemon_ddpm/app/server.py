"""Starts and stops the app, and refuses what must not reach a handler, beside what Gradio refuses itself."""

import asyncio
import logging
import os
import secrets
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Queue
from gradio.server_messages import EventMessage
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_FREE_MODEL, RELEASED_MODEL
from pokemon_ddpm.app import handlers
from pokemon_ddpm.app.interface import THEME, build_page
from pokemon_ddpm.generation import GenerationSettings, best_dtype
from pokemon_ddpm.models import model_name

MAX_SESSIONS = 100  # visitors with sprites in memory: at most 17 MB each at 64x64 px, usually 1 MB
MAX_BODY_SIZE = 2**16  # bytes of a request; no image is uploaded
QUEUE_SIZE = 32  # jobs that can wait in Gradio's queue for the one that runs
QUEUE_SIZE_OF_ADDRESS = 8
LISTEN_SECONDS = 30  # then a job is removed whose client does not listen
LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")


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
        models: Folders, names of released models, or names on the Hub; the first is the page's default. By default
            the project's three.
        host: Address to listen on; by default $GRADIO_SERVER_NAME, which a Space sets, or else 127.0.0.1.
        port: By default $GRADIO_SERVER_PORT, or else the first free one from 7860.
        share: Whether Gradio makes a public link.
        allowed_hosts: Names by which visitors may address the app, beside those of this machine; "*.example.org" is
            every name that ends so. By default none, or any if `host` is not of this machine alone.
        wait: Whether to wait for Ctrl-C or SIGTERM, and then end the process.
    """
    models = models or [RELEASED_FAST_MODEL, RELEASED_MODEL, RELEASED_FREE_MODEL]
    loaded = {model_name(source): GenerationSettings(source, dtype=best_dtype()).load() for source in models}
    folder = tempfile.TemporaryDirectory(prefix="pokemon-ddpm-", ignore_cleanup_errors=True)
    cache = Path(folder.name).resolve()  # Gradio's cache, the only folder that it serves
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    page = build_page(loaded, handlers.Handlers(loaded, cache), LimitedBlocks)
    page.queue(max_size=QUEUE_SIZE, api_open=False)
    page._queue.__class__ = LimitedQueue  # Gradio always makes its own.
    if not allowed_hosts and (host or os.environ.get("GRADIO_SERVER_NAME", LOCAL[0])) not in LOCAL:
        allowed_hosts = ["*"]
    if "SPACE_ID" in os.environ:  # only the proxy of Hugging Face reaches a Space, and says who a client is
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")
    names = [*allowed_hosts, *LOCAL, *(["*.gradio.live"] if share else [])]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=names),
        Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_SIZE),
    ]
    logging.getLogger("uvicorn.error").addFilter(log_one_line)
    page.launch(
        server_name=f"[{host}]" if host and ":" in host else host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        theme=THEME,
        css_paths=Path(__file__).with_name("style.css"),
        footer_links=["api"],
        app_kwargs={"middleware": middleware},
        max_file_size=0,
        state_session_capacity=MAX_SESSIONS,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
    )
    app = App(page, folder)
    print(f"{page.title} runs on {app.url}", flush=True)
    if wait:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
        app.close()
        os._exit(0)  # the interpreter's own exit takes seconds
    return app


class LimitedBlocks(gr.Blocks):
    """A malformed request that does not reach a handler is refused without a traceback."""

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*arguments, **options)
        except (LookupError, TypeError, ValueError) as error:
            if any(frame.filename == handlers.__file__ for frame in traceback.extract_tb(error.__traceback__)):
                raise
            raise handlers.Refused(f"The request is not valid: {error}") from None


class _Messages(asyncio.Queue):
    """The messages for a client. Gradio gets one, or waits ten seconds for one, again and again while it listens."""

    last_get = 0.0

    async def get(self) -> EventMessage:
        self.last_get = time.monotonic()
        return await super().get()


class LimitedQueue(Queue):
    """An address has a share of the places, and jobs to whose session nobody listens are removed with the session.

    Gradio itself removes a job when its listener leaves, but not one that never had any.
    """

    async def push(self, body: PredictBodyInternal, request: Request, username: str | None) -> tuple[bool, str, str]:
        queues = self.event_queue_per_concurrency_id.values()
        waiting = [event.request.client.host for queue in queues for event in queue.queue]
        if waiting.count(request.client.host) >= QUEUE_SIZE_OF_ADDRESS:
            return False, f"At most {QUEUE_SIZE_OF_ADDRESS} jobs of an address can wait.", "queue_full"
        session = body.session_hash = body.session_hash or secrets.token_hex(16)
        pushed, event, state = await super().push(body, request, username)
        if pushed:
            self.pending_messages_per_session[session].__class__ = _Messages
            task = asyncio.create_task(self._remove_if_unheard(session, event))
            self._asyncio_tasks.add(task)
            task.add_done_callback(self._asyncio_tasks.discard)
        return pushed, event, state

    async def _remove_if_unheard(self, session: str, event: str) -> None:
        while event in self.event_ids_to_events:
            await asyncio.sleep(LISTEN_SECONDS)
            messages = self.pending_messages_per_session.get(session)
            if messages is None or time.monotonic() - messages.last_get > LISTEN_SECONDS:
                await self.clean_events(session_hash=session)
                for kept in (self.pending_messages_per_session, self.pending_event_ids_session):
                    kept.pop(session, None)


def log_one_line(record: logging.LogRecord) -> bool:
    """A filter for uvicorn's log, which has a traceback of each malformed request that Gradio does not answer."""
    if record.exc_info:
        record.msg, record.args = f"{record.getMessage().strip()}: {record.exc_info[1]!r:.200}", ()
        record.exc_info = None
    return True
