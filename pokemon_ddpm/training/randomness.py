"""Randomness as a function of what is being done.

Everything random in a training step is drawn for the whole global batch from (seed, step) and then sliced by
position, so that it depends neither on restarts nor on how a batch is divided over processes and accumulation. Only a
network's dropout is drawn where it happens, from (seed, step, process, pass). No state of a random generator has to be
saved.
"""

import functools
import hashlib

import torch

# Streams keep draws for different purposes apart.
ORDER, DRAWS, NETWORK, SHEET, VALIDATION, WEIGHTS = range(6)


def derive_seed(*key: int) -> int:
    """A 63-bit seed that is a function of whole numbers: the beginning of their SHA-256."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def generator_for(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator on a device, seeded by `derive_seed`; on the CPU where the device (MPS) lacks some of the draws."""
    device = torch.device(device)
    return torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(derive_seed(*key))


@functools.lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(size, generator=generator_for("cpu", seed, ORDER, epoch))


def batch_indices(size: int, seed: int, step: int, batch_size: int) -> torch.Tensor:
    """Which pictures the batch of a step holds.

    Each epoch is a permutation of the pictures, a function of (seed, epoch); batches are cut from the epochs one
    after the other, so that none is dropped where the sizes do not divide.

    Args:
        size: Number of pictures N.
        seed: The run's seed.
        step: Number of the step, from 0.
        batch_size: Global batch size G.

    Returns:
        int64 (G,) in [0, N).
    """
    parts = []
    start, end = step * batch_size, (step + 1) * batch_size
    for epoch in range(start // size, (end - 1) // size + 1):
        offset = epoch * size
        parts.append(_permutation(size, seed, epoch)[max(start - offset, 0) : end - offset])
    return torch.cat(parts)
