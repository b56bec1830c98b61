"""The seed of each sprite of a creature."""

import hashlib


def part_seed(seed: int, part: str, attempt: int = 0) -> int:
    """The first 31 bits of the SHA-256 of "seed/part/attempt", so that no part depends on which others are made.

    Args:
        seed: Of the creature.
        part: The name of its sprite, such as "2-back". A shiny has the seed of the sprite that it recolors.
        attempt: From 0.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{part}/{attempt}".encode()).digest()[:4], "big") >> 1
