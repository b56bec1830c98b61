"""What is remembered of visitors: the last sprites of each who drew any."""

import time
from collections import OrderedDict

from pokemon_ddpm.app.limits import KEPT_SECONDS, MEMORY
from pokemon_ddpm.app.orders import Sprite

Sprites = tuple[Sprite, ...]


class Memory:
    """Visitors' last sprites, until they have not been used for longest, or were drawn too long ago.

    A visitor who has drawn nothing takes no room in it, so that no number of names takes anybody's sprites away. It
    belongs to one event loop.

    Args:
        most: Bytes of pictures that fit in. The last visitor's do in any case.
        seconds: How long sprites are remembered.
    """

    def __init__(self, most: int = MEMORY, seconds: float = KEPT_SECONDS):
        self._most, self._seconds = most, seconds
        self._kept: OrderedDict[str, tuple[float, int, Sprites]] = OrderedDict()
        self._bytes = 0

    def of(self, visitor: str) -> Sprites:
        """A visitor's last sprites; none if there are none any more."""
        self._forget_old()
        if visitor not in self._kept:
            return ()
        self._kept.move_to_end(visitor)
        return self._kept[visitor][2]

    def remember(self, visitor: str, sprites: Sprites) -> None:
        """Remembers sprites in the place of those before them."""
        self._forget_old()
        if visitor in self._kept:
            self._forget(visitor)
        size = sum(map(_bytes, sprites))
        self._kept[visitor] = (time.monotonic(), size, sprites)
        self._bytes += size
        while self._bytes > self._most and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))

    def _forget_old(self) -> None:
        now = time.monotonic()
        for visitor in [each for each, (drawn, *_) in self._kept.items() if now - drawn > self._seconds]:
            self._forget(visitor)

    def _forget(self, visitor: str) -> None:
        self._bytes -= self._kept.pop(visitor)[1]


def _bytes(sprite: Sprite) -> int:
    """Of a sprite's pictures, each of which takes 4 bytes a pixel."""
    return 4 * sprite.image.width * sprite.image.height * (1 + 2 * len(sprite.steps))
