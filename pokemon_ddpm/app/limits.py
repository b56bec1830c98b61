"""How much one may ask for, and the line in which everybody waits for the model."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

MAX_IMAGES = 16
MAX_SEED = 2**31 - 1
GUIDANCE = (1.0, 10.0)
STRENGTH = (0.1, 1.0)
MAX_SCALE = 16
PLACES = 32
"""How many may wait or draw at a time."""
PLACES_PER_ADDRESS = 16
"""Of these, for one address, which many people may share."""
DESKS, DESKS_PER_USER = 4, 3
"""How many have files written at a time, and how often one visitor may ask for that before the last is done."""
PUBLIC_SECONDS = 120.0
"""How long one drawing may take where everybody can ask for it."""
KEPT_SECONDS = 3600
"""How long pictures and files can be fetched, and a visitor's last sprites are remembered."""
SWEEP_SECONDS = 60
"""How often what is older is removed."""
MEMORY = 400 << 20
"""Bytes of pictures that are remembered of all visitors' last sprites; those of one take 3 MB at most at 32x32 px."""
KEPT_STEPS = 20
"""About how many steps of a sprite are kept; what has more is kept from the first to the last, evenly spread."""
SESSIONS = 200
"""Of how many visitors Gradio notes what their page is made of, in 0.13 MB each. Nobody misses what it forgets."""
MAX_BODY = 1 << 16
"""Bytes of a request."""
BODY_SECONDS = 10.0
"""How long a request may take to arrive."""
OPEN_PER_ADDRESS = 128
"""How many requests of one address may be answered at a time. An open page takes one or two of them."""
UNREAD, UNREAD_SECONDS, UNREAD_SESSIONS = 256, 120.0, 2000
"""How many messages wait for a session that does not fetch them, for how long, and of how many sessions."""
MAX_DISK = 1 << 30
"""About how many bytes of files there are at a time."""
FOLDERS_PER_LOOK = 200
"""After how many lots of files it is looked whether there are more."""
TICK_SECONDS = 2.0
"""How long a drawing may be silent before it looks whether anybody still waits for it."""


class Refused(Exception):
    """What is asked for is not done; the message says why, to whoever asked."""


@dataclass(eq=False)
class Place:
    """A place in the line.

    Attributes:
        user: Whose it is.
        address: From where.
        moved: Is set whenever somebody before it has left, or the place is given up.
        stop: Is set when nobody wants any more what was asked for.
    """

    user: str
    address: str
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    stop: threading.Event = field(default_factory=threading.Event)


class Desks:
    """Where what is short is done, a few at a time.

    Nobody asks for so much of it that others are kept waiting: what is more than one visitor's share is refused at
    once, and waits nowhere. As `Line`, it belongs to one event loop.

    Args:
        desks: How many there are.
        per_user: How many one visitor may have or wait for.
    """

    def __init__(self, desks: int = DESKS, per_user: int = DESKS_PER_USER):
        self._free, self._per_user = asyncio.Semaphore(desks), per_user
        self._taken: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def desk(self, user: str) -> AsyncGenerator[None, None]:
        """Waits for one.

        Raises:
            Refused: If the user has too many.
        """
        if self._taken[user] >= self._per_user:
            raise Refused("That is too much at a time. Try again in a moment.")
        self._taken[user] += 1
        try:
            async with self._free:
                yield
        finally:
            self._taken -= Counter((user,))  # which forgets those who have none


class Line:
    """Who waits for the model, the first of whom has it.

    Nothing in it waits or locks: it belongs to one event loop.

    Args:
        places: How many may stand in it.
        per_address: How many of these for one address.
    """

    def __init__(self, places: int = PLACES, per_address: int = PLACES_PER_ADDRESS):
        self._places: list[Place] = []
        self._most, self._per_address = places, per_address

    def join(self, user: str, address: str) -> Place:
        """Takes the last place.

        Raises:
            Refused: If the user has one already, or too many are taken.
        """
        if any(place.user == user for place in self._places):
            raise Refused("You have a drawing under way: wait for it, or cancel it.")
        near = sum(place.address == address for place in self._places)
        if len(self._places) >= self._most or near >= self._per_address:
            raise Refused("Too many people are drawing at the moment. Try again in a minute.")
        place = Place(user, address)
        self._places.append(place)
        return place

    def ahead(self, place: Place) -> int:
        """How many are before a place; 0 for whoever has the model."""
        return self._places.index(place)

    def leave(self, place: Place) -> None:
        """Frees a place, and tells those behind it."""
        self._places.remove(place)
        for other in self._places:
            other.moved.set()

    def give_up(self, user: str) -> bool:
        """Marks the place of a user, who then leaves as soon as possible; returns whether there was one."""
        mine = [place for place in self._places if place.user == user]
        for place in mine:
            place.stop.set()
            place.moved.set()
        return bool(mine)

    def give_up_all(self) -> None:
        """Marks every place so, from any thread."""
        for place in list(self._places):
            place.stop.set()
