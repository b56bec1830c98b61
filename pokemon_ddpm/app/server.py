"""Starts the app."""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.app import style
from pokemon_ddpm.app.door import THIS_MACHINE, Door
from pokemon_ddpm.app.downloads import Files
from pokemon_ddpm.app.interface import TITLE, build
from pokemon_ddpm.app.limits import PUBLIC_SECONDS, SESSIONS
from pokemon_ddpm.app.models import Models
from pokemon_ddpm.app.shield import Shield
from pokemon_ddpm.app.unread import Unread
from pokemon_ddpm.app.workshop import Workshop

THREADS = 40
"""Of Gradio, beside the one that draws; more than there are places in the line, so that all else goes on."""


def launch(
    models: Sequence[str] = (RELEASED_MODEL, RELEASED_FAST_MODEL),
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    public: bool = True,
    wait: bool = True,
) -> gr.Blocks:
    """Builds the app and runs it.

    Args:
        models: Folders or Hub names; the first is drawn with if nothing else is chosen.
        host: Address to listen on; None for $GRADIO_SERVER_NAME, which a Space sets, or else 127.0.0.1.
        port: None for $GRADIO_SERVER_PORT, or else the first free one from 7860.
        share: Whether Gradio makes a public link.
        public: Whether others than the owner of the machine can reach it: then there are only these models, and a
            drawing has a time limit. Implied by `share`.
        wait: Whether to return only when the app is stopped, by Ctrl-C or SIGTERM.

    Raises:
        ValueError, OSError: If there is no such model, the port is taken, or no temporary folder can be made.
    """
    public = public or share
    known = Models(models, public)
    workshop = Workshop(PUBLIC_SECONDS if public else None)
    # All that is written lies there, and goes with the app.
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="pokemon-ddpm-", dir=parent, ignore_cleanup_errors=True)
    path = Path(folder.name).resolve()
    # Gradio reads it whenever it makes a component anew, as it does for each visitor.
    os.environ["GRADIO_TEMP_DIR"] = str(path)
    # It sums up all calls so far, with who made them, after each one, for a page that this app does not have.
    os.environ |= {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(sys.maxsize)}
    files = Files(path)
    page = build(known, workshop, files, public)
    page._queue.pending_messages_per_session = Unread(page._queue.pending_event_ids_session)
    names = None if public else {*THIS_MACHINE, (host or "localhost").lower()}
    page.launch(
        server_name=f"[{host}]" if host and ":" in host else host,  # as in an address of the web
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,  # Gradio's own words tell how to call `launch` of its own
        max_threads=THREADS,
        theme=style.theme(),
        css=style.CSS,
        footer_links=["api"],
        app_kwargs={"middleware": [Middleware(Door, names=names), Middleware(Shield, folder=path)]},
        state_session_capacity=SESSIONS,
        # What the page has no use for, and a public one should not offer:
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        max_file_size="1mb",
    )
    page.folder = folder  # which is removed with the page
    threading.Thread(target=files.sweep_for_ever, daemon=True).start()
    print(f"{TITLE} runs on {page.share_url or page.local_url}", flush=True)
    if wait:
        try:
            with _ended_by_sigterm():
                page.block_thread()
        finally:
            workshop.close()
            folder.cleanup()
    return page


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Ends as by Ctrl-C, with all that is to be removed removed, when the process is told to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
