"""How the timesteps of a training batch are drawn: uniformly, evenly over the batch, or by how much they matter."""

import torch

TIMESTEP_SAMPLINGS = ("uniform", "stratified", "loss_second_moment")
RECORDED = 10  # losses of each timestep that importance sampling looks at (Nichol & Dhariwal 2021, section 3.3)
# Every timestep keeps this share of a uniform draw, so that no weight gets out of bounds and no timestep is forgotten.
UNIFORM_SHARE = 0.001


def sample_timesteps(
    count: int, num_train_timesteps: int, generator: torch.Generator, stratified: bool = False
) -> torch.Tensor:
    """Draws timesteps, int64 (count,) in [0, num_train_timesteps), each uniformly distributed.

    Args:
        count: How many.
        num_train_timesteps: T.
        generator: Where from; the result lies on its device.
        stratified: Whether, instead of being independent (Algorithm 1 of Ho et al. 2020), the i-th lies in the i-th
            of `count` equal parts of the range, in random order, which lowers the variance of the loss's gradient
            (Kingma et al. 2021, appendix I.1, with a random offset in each part).
    """
    device = generator.device
    if not stratified:
        return torch.randint(num_train_timesteps, (count,), generator=generator, device=device)
    order = torch.randperm(count, generator=generator, device=device)
    position = (order + torch.rand(count, generator=generator, device=device, dtype=torch.float64)) / count
    return (position * num_train_timesteps).long().clamp(max=num_train_timesteps - 1)


class LossSecondMoment:
    """Importance sampling of timesteps by the loss's second moment (Nichol & Dhariwal 2021, equation 18).

    p_t is proportional to sqrt(E[L_t^2]) over the last `RECORDED` losses of each timestep, and uniform until all
    timesteps have as many. Nothing here waits for the device.

    Args:
        num_train_timesteps: T.
        device: Where the losses are.

    Attributes:
        losses: float32 (T, RECORDED), a ring for each timestep.
        recorded: int64 (T,), losses ever recorded.
    """

    def __init__(self, num_train_timesteps: int, device: torch.device | str = "cpu"):
        # One row more takes what is not to be recorded.
        self._losses = torch.zeros(num_train_timesteps + 1, RECORDED, device=device)
        self._recorded = torch.zeros(num_train_timesteps + 1, dtype=torch.int64, device=device)

    @property
    def losses(self) -> torch.Tensor:
        return self._losses[:-1]

    @property
    def recorded(self) -> torch.Tensor:
        return self._recorded[:-1]

    def probabilities(self) -> torch.Tensor:
        """p_t, float64 (T,)."""
        count = len(self.recorded)
        share = self.losses.double().square().mean(dim=1).sqrt()
        share = share / share.sum()
        uniform = torch.full_like(share, 1 / count)
        known = (self.recorded >= RECORDED).all() & share.isfinite().all()  # all losses 0: no share is known
        return torch.where(known, (1 - UNIFORM_SHARE) * share + UNIFORM_SHARE * uniform, uniform)

    def sample(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws timesteps.

        Args:
            count: How many, B.
            generator: Where from.

        Returns:
            Timesteps t, int64 (B,), and the weights 1 / (T p_t), float32 (B,), with which the loss keeps its
            expectation.
        """
        probabilities = self.probabilities()
        # Whole numbers add up the same in any order, so that CUDA's sum, too, is a function of its input.
        edges = (probabilities * 2**40).long().cumsum(0)
        position = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
        position = position.to(edges.device) * edges[-1]
        timesteps = torch.searchsorted(edges, position.long(), right=True).clamp(max=len(edges) - 1)
        return timesteps, (1 / (len(edges) * probabilities[timesteps])).float()

    def record(self, timesteps: torch.Tensor, losses: torch.Tensor) -> None:
        """Remembers losses, leaving out what is not finite.

        Args:
            timesteps: int64 (B,).
            losses: Of the pictures at these timesteps, without the weights of the draw, (B,).
        """
        spare = len(self._losses) - 1
        timesteps = torch.where(losses.isfinite(), timesteps, spare)
        timesteps, order = timesteps.sort(stable=True)
        losses = losses[order].float()
        # Of pictures with the same timestep, the k-th goes k places further; of more than a ring holds, the last stay.
        first = torch.searchsorted(timesteps, timesteps)
        last = torch.searchsorted(timesteps, timesteps, right=True)
        position = torch.arange(len(timesteps), device=timesteps.device)
        place = (self._recorded[timesteps] + position - first) % RECORDED
        row = torch.where(last - position > RECORDED, spare, timesteps)
        self._losses[row, place] = losses
        self._recorded.scatter_add_(0, timesteps, torch.ones_like(timesteps))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Both tensors by name."""
        return {"losses": self.losses.clone(), "recorded": self.recorded.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Takes back what `state_dict` gave."""
        self.losses.copy_(state["losses"])
        self.recorded.copy_(state["recorded"])
