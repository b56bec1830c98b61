"""What Gradio tells visitors until they fetch it, which not all of them do: bounded, and forgotten after a while."""

import asyncio
import time
from typing import Any

from pokemon_ddpm.app.limits import UNREAD, UNREAD_SECONDS, UNREAD_SESSIONS


class Messages(asyncio.Queue):
    """A session's messages, of which the oldest go if there are too many.

    Attributes:
        since: Since when the session listens to nothing that it is told: when it began, last listened, or was told the
            first of what waits for it.
        listening: How many wait for one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.since, self.listening = time.monotonic(), 0

    def put_nowait(self, item: Any) -> None:
        """Adds one, as `put` does."""
        if self.empty():
            self.since = time.monotonic()
        elif self.qsize() >= UNREAD:
            self.get_nowait()
        super().put_nowait(item)

    async def get(self) -> Any:
        """Waits for one."""
        self.listening += 1
        try:
            return await super().get()
        finally:
            self.listening -= 1
            self.since = time.monotonic()


class Unread(dict):
    """Each session's messages, in the place of Gradio's own, which drop whoever came first, listening or not.

    It belongs to one event loop.

    Args:
        running: Session -> its calls whose end it has not been told of. Gradio keeps these for ever of sessions that
            do not listen; here they go with the messages.
    """

    def __init__(self, running: dict[str, set[str]]):
        super().__init__()
        self._running = running

    def __setitem__(self, session: str, _: Any) -> None:
        """Begins a session, and forgets those that leave messages for a while, or did not listen for longest."""
        now = time.monotonic()
        silent = sorted((each.since, name) for name, each in self.items() if not each.listening)
        too_many = len(self) + 1 - UNREAD_SESSIONS
        for i, (since, name) in enumerate(silent):
            if i < too_many or now - since > UNREAD_SECONDS and not self[name].empty():
                del self[name]
        for name in self._running.keys() - self.keys() - {session}:
            del self._running[name]
        super().__setitem__(session, Messages())

    def __missing__(self, session: str) -> Messages:
        """What is told a session that was forgotten goes nowhere."""
        return Messages()
