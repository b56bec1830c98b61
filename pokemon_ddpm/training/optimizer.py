"""Muon: momentum with orthogonal updates for the matrices inside the network, AdamW for everything else."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor

from pokemon_ddpm.diffusion import ConditionalDenoiser
from pokemon_ddpm.pipelines.sprite_conditioner import TAGS
from pokemon_ddpm.training.config import TrainingConfig

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024
NEWTON_SCHULZ_STEPS = 5
# Of the learning rate, for new embeddings beside trained weights. Adam moves a number by about the learning rate in an
# update, so in 200 updates embeddings of a standard deviation of 0.3 would stay where they start.
EMBEDDING_FACTOR = 40
# For tags, always: each is in few images. With the plain rate their embeddings stayed random in 266,000 images.
TAG_FACTOR = 20
DISCRIMINATOR_FACTOR = 3  # it must learn what the generator does before that changes it
UPDATE_RMS = 0.2  # about that of AdamW, so that both take the same learning rate (Liu et al. 2025, section 2.2)


def learning_rate_factor(config: TrainingConfig, optimizer: torch.optim.AdamW, steps: int) -> Callable[[int], float]:
    """The share of the peak learning rate at a step; as a function it has no state to save."""
    counts = {"num_warmup_steps": config.lr_warmup_steps, "num_training_steps": steps}
    return get_scheduler(config.lr_scheduler, optimizer, **counts).lr_lambdas[0]


def make_optimizer(
    config: TrainingConfig, denoiser: ConditionalDenoiser, new_attributes: Sequence[str] = ()
) -> torch.optim.AdamW:
    """AdamW, or with --optimizer muon `Muon` for the matrices in the U-Net's blocks.

    The embeddings of new attributes learn faster, see `EMBEDDING_FACTOR`; those of tags and a discriminator always do.
    """
    options = {"lr": config.learning_rate, "weight_decay": config.adam_weight_decay}
    unet, matrices = denoiser.unet, set()
    if config.optimizer == "muon":
        inside = [*unet.down_blocks.parameters(), *unet.mid_block.parameters(), *unet.up_blocks.parameters()]
        matrices = {id(p) for p in inside if p.ndim > 1}
    conditioner = denoiser.conditioner
    tags = {TAGS: TAG_FACTOR} if TAGS in conditioner.vocabulary else {}
    factors = tags | dict.fromkeys(new_attributes, EMBEDDING_FACTOR)
    own = {id(conditioner.tables[f"{name}_embedding"].weight): factor for name, factor in factors.items()}
    if denoiser.discriminator is not None:
        own |= {id(p): DISCRIMINATOR_FACTOR for p in denoiser.discriminator.parameters()}
    parts: dict[tuple[bool, int], list[Tensor]] = defaultdict(list)
    for p in denoiser.parameters():
        parts[id(p) in matrices, own.get(id(p), 1)].append(p)
    groups = [{"params": parts[key], "orthogonal": key[0], "lr_factor": key[1]} for key in sorted(parts)]
    # Fused, so that an update can be skipped on the device.
    if not matrices:
        return torch.optim.AdamW(groups, fused=True, **options)
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32  # Enough (Jordan et al. 2024).
    return Muon(groups, dtype, fused=True, **options)


class Muon(torch.optim.AdamW):
    """AdamW, except for groups with `orthogonal`: these have the updates of Muon (Jordan et al. 2024).

    The momentum of the gradient, as a matrix with a row for each output, is replaced by the nearest matrix with
    orthonormal rows or columns, so that all its directions are learned equally fast. torch.optim.Muon takes no
    convolutions.
    """

    def __init__(self, groups: list[dict[str, Any]], dtype: torch.dtype, **options: Any):
        super().__init__(groups, **options)
        self.dtype = dtype  # of the iteration

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        skip = getattr(self, "found_inf", None)  # a scalar on the device: 1 to skip this update
        for group in (group for group in self.param_groups if group["orthogonal"]):
            for parameter in group["params"]:
                state, gradient = self.state[parameter], parameter.grad
                if gradient is None:
                    continue
                if not state:
                    # AdamW expects a step of each parameter when its state is loaded.
                    state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(parameter)
                momentum = state["momentum"].lerp(gradient, 1 - MOMENTUM)
                matrix = gradient.lerp(momentum, MOMENTUM).flatten(start_dim=1)  # Nesterov
                update = orthogonalize(matrix.to(self.dtype)).float() * UPDATE_RMS * max(matrix.shape) ** 0.5
                decayed = parameter * (1 - group["lr"] * group["weight_decay"])
                updated = decayed - group["lr"] * update.view_as(parameter)
                for old, new in ((state["momentum"], momentum), (parameter, updated)):
                    old.copy_(new if skip is None else torch.where(skip > 0, old, new))
                parameter.grad = None  # AdamW leaves these out
        super().step()


def orthogonalize(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T of a matrix (M, N), by Newton-Schulz iteration.

    Singular values end between about 0.7 and 1.2, which is enough (Jordan et al. 2024).
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
