"""What a training picture says of itself: parts are forgotten, so that every way of asking is trained."""

from collections.abc import Mapping

import torch

from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner

# Of the pictures that say anything at all: shares of those that say their types only, everything, a random part.
# (30 %, 20 % and 40 % of all pictures at the usual 10 % that say nothing.)
TYPES_ONLY, EVERYTHING, RANDOM_PART = 3 / 9, 2 / 9, 4 / 9


def forget(
    labels: Mapping[str, torch.Tensor], conditioner: SpriteConditioner, nothing: float, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Replaces parts of the labels by `any`, drawn for each picture.

    With probability `nothing` a picture says nothing, which trains the unconditional model that guidance needs (Ho &
    Salimans 2022, algorithm 1). The others say their types only (`TYPES_ONLY`), everything (`EVERYTHING`), or a random
    part: every attribute with probability 1/2, but at least one (`RANDOM_PART`). Where a picture says its types but
    not everything, one of the two is forgotten half of the time: either at random, but `none` before a type.

    Args:
        labels: int64; "type" (B, 2), every other attribute (B,). Attributes the conditioner lacks are left out.
        conditioner: Names the attributes and their `any`.
        nothing: Probability of saying nothing.
        generator: Where the draws come from; on the labels' device.

    Returns:
        New tensors of the same shapes for the conditioner's attributes.
    """
    attributes = list(conditioner.vocabulary)
    batch, device = len(labels["type"]), generator.device
    kind = torch.rand(batch, generator=generator, device=device)
    part = torch.randint(1, 2 ** len(attributes), (batch,), generator=generator, device=device)  # a set as bits
    coins = torch.rand(batch, 2, generator=generator, device=device)

    says_something = kind >= nothing
    kind = (kind - nothing) / (1 - nothing)
    types_only = kind < TYPES_ONLY
    everything = (kind >= TYPES_ONLY) & (kind < TYPES_ONLY + EVERYTHING)

    said = {}
    for bit, attribute in enumerate(attributes):
        chosen = part.bitwise_right_shift(bit).bitwise_and(1).bool()
        keep = says_something & torch.where(types_only, attribute == "type", everything | chosen)
        ids = labels[attribute].to(device)
        if attribute == "type":
            ids = _forget_one(ids, coins, ~everything, conditioner)
            keep = keep[:, None]
        said[attribute] = torch.where(keep, ids, conditioner.any_id(attribute))
    return said


def _forget_one(
    types: torch.Tensor, coins: torch.Tensor, may_forget: torch.Tensor, conditioner: SpriteConditioner
) -> torch.Tensor:
    """Half of the time, sets one of the two slots of types (B, 2) to `any`."""
    forgets = may_forget & (coins[:, 0] < 0.5)
    slot = torch.where(types[:, 0] == conditioner.none_id, 0, (coins[:, 1] < 0.5).long())
    slot = torch.where(types[:, 1] == conditioner.none_id, 1, slot)
    forgotten = (slot[:, None] == torch.arange(2, device=slot.device)) & forgets[:, None]
    return torch.where(forgotten, conditioner.any_id("type"), types)
