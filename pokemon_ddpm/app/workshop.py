"""Where orders are carried out: one after the other in a thread, while the event loop tells how far they are."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pokemon_ddpm.app.drawing import Look, draw
from pokemon_ddpm.app.limits import TICK_SECONDS, Line, Place
from pokemon_ddpm.app.orders import Order, Sprite
from pokemon_ddpm.generation import Interrupted

Result = TypeVar("Result")


@dataclass(frozen=True)
class Waiting:
    """An order whose turn it is not yet.

    Attributes:
        ahead: How many are before it.
    """

    ahead: int


class Workshop:
    """Carries out orders, one at a time, each user's one at a time.

    Args:
        seconds: How long one may take; None for as long as it takes.
    """

    def __init__(self, seconds: float | None = None):
        self.line = Line()
        self._seconds = seconds
        # A single thread: a pipeline draws for one caller at a time, and no model is loaded beside that.
        self._thread = ThreadPoolExecutor(1, "draw")

    async def carry_out(
        self, order: Order, user: str, address: str
    ) -> AsyncGenerator[Waiting | Look | list[Sprite] | None, None]:
        """Carries out an order.

        Whoever stops listening, by closing this iterator or cancelling the task that waits for it, ends the work
        after the step it is in, as `stop` does.

        Args:
            order: What to draw.
            user: For whom; see `Line.join`.
            address: From where.

        Yields:
            What happens, and None at times when nothing does, so that it is noticed whether anybody still listens.
            The sprites come last.

        Raises:
            Refused: If there is no place, or it takes too long.
            Interrupted: If the user stopped it.
        """
        place = self.line.join(user, address)
        news: asyncio.Queue[Look | None] = asyncio.Queue()
        work = None
        try:
            while ahead := self.line.ahead(place):
                yield Waiting(ahead)
                await _moved(place)
                if place.stop.is_set():
                    raise Interrupted
            work = self._begin(order, place, news)
            while (look := await _next(news)) is not _END:
                yield look
            yield work.result()
        finally:
            place.stop.set()
            if work is None:
                self.line.leave(place)

    def stop(self, user: str) -> bool:
        """Ends what is under way for a user after the step it is in; returns whether there was anything."""
        return self.line.give_up(user)

    async def beside(self, function: Callable[[], Result]) -> Result:
        """Calls a function when nothing is drawn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def close(self) -> None:
        """Ends everything that is under way or waits."""
        self.line.give_up_all()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, order: Order, place: Place, news: asyncio.Queue) -> asyncio.Future:
        loop = asyncio.get_running_loop()

        def see(look: Look) -> None:
            loop.call_soon_threadsafe(news.put_nowait, look)

        def ended(work: asyncio.Future) -> None:
            # The place is kept until the thread has really ended, whatever becomes of those who wait for it.
            self.line.leave(place)
            news.put_nowait(_END)
            if not work.cancelled():
                work.exception()  # as looked at: nobody may be left to do so

        work = loop.run_in_executor(self._thread, draw, order, see, place.stop, self._seconds)
        work.add_done_callback(ended)
        return work


_END = object()


async def _moved(place: Place) -> None:
    """Waits until something changes before a place, at most for a while."""
    place.moved.clear()
    try:
        await asyncio.wait_for(place.moved.wait(), TICK_SECONDS)
    except TimeoutError:
        pass


async def _next(news: asyncio.Queue) -> Look | object | None:
    """The next news; None if there are none for a while."""
    try:
        return await asyncio.wait_for(news.get(), TICK_SECONDS)
    except TimeoutError:
        return None
