"""What is refused before a handler runs, beside what Gradio refuses itself: see `LimitedBlocks` and `LimitedQueue`."""

import asyncio
import logging
import secrets
import time
import traceback
from typing import Any

import gradio as gr
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Queue
from starlette.requests import Request

from pokemon_ddpm.app import handlers

MAX_BODY_SIZE = 2**16  # bytes of a request; no image is uploaded
QUEUE_SIZE = 32  # jobs that can wait in Gradio's queue for the one that runs
QUEUE_SIZE_OF_ADDRESS = 8
LISTEN_SECONDS = 30  # then a job is removed whose client does not listen


class LimitedBlocks(gr.Blocks):
    """A malformed request that does not reach a handler is refused without a traceback."""

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*arguments, **options)
        except (LookupError, TypeError, ValueError) as error:
            if any(frame.filename == handlers.__file__ for frame in traceback.extract_tb(error.__traceback__)):
                raise
            raise handlers.Refused(f"The request is not valid: {error}") from None

    def queue(self, *arguments: Any, **options: Any) -> "LimitedBlocks":
        super().queue(*arguments, **options)
        self._queue.__class__ = LimitedQueue  # Gradio always makes its own
        return self


class _Messages(asyncio.Queue):
    """The messages for a client. Gradio gets one, or waits ten seconds for one, again and again while it listens."""

    last_get = 0.0

    async def get(self) -> Any:
        self.last_get = time.monotonic()
        return await super().get()


class LimitedQueue(Queue):
    """An address has a share of the places, and jobs to whose session nobody listens are removed.

    Gradio itself removes a job when its listener leaves, but not one that never had any.
    """

    async def push(self, body: PredictBodyInternal, request: Request, username: str | None) -> tuple:
        waiting = [event for each in self.event_queue_per_concurrency_id.values() for event in each.queue]
        if [each.request.client.host for each in waiting].count(request.client.host) >= QUEUE_SIZE_OF_ADDRESS:
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


def log_one_line(record: logging.LogRecord) -> bool:
    """A filter for uvicorn's log, which has a traceback of each malformed request that Gradio does not answer."""
    if record.exc_info:
        record.msg, record.args = f"{record.getMessage().strip()}: {record.exc_info[1]!r:.200}", ()
        record.exc_info = None
    return True
