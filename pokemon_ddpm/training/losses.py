"""The losses beside the plain one of train_conditional.py: a learned variance, distillation and autoguidance.

z_t is the noisy sample x_t of diffusion.py, x the clean one as predicted.
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pokemon_ddpm.diffusion import ConditionalDenoiser, NoiseSchedule, bound_term, make_scheduler, student_scheduler
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import is_distilled, set_timesteps
from pokemon_ddpm.pipelines.sprite_conditioner import SOURCE, TAGS
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import AUTOGUIDANCE_INTERVAL, NUM_TRAIN_TIMESTEPS, TrainingConfig

VLB_WEIGHT = 0.001  # of L_vlb beside L_simple (Nichol & Dhariwal 2021, equation 16)
CLEAN = -1  # the timestep of the clean image, before the first
# What the models of autoguidance must have as the trained one, of networks and of schedulers.
SHARED = ("sample_size", "in_channels", "out_channels", "scaling_factor")
PROCESS = ("prediction_type", "num_train_timesteps", "beta_schedule", "rescale_betas_zero_snr")


def other_loss(
    config: TrainingConfig, schedule: NoiseSchedule, denoiser: ConditionalDenoiser, trained: PokemonDDPMPipeline | None
) -> Callable[[nn.Module, Batch], Tensor] | None:
    """The loss of the configuration in place of the plain one, None for that; `trained` is a student's teacher."""
    if config.distill_from:
        return DistillationLoss(config, schedule, denoiser, trained)
    if config.autoguidance_from:
        return AutoguidanceLoss(config, schedule, denoiser)
    if config.variance_type == "learned_range":
        return functools.partial(learned_variance_loss, schedule=schedule, config=config)
    return None


def predict(denoiser: nn.Module, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """The prediction at x_t under the batch's conditions, float32."""
    return denoiser(noisy, timesteps, batch.labels, batch.augmentation).float()


def learned_variance_loss(
    denoiser: nn.Module, batch: Batch, schedule: NoiseSchedule, config: TrainingConfig
) -> Tensor:
    """The hybrid objective, the plain loss + lambda L_vlb, of each image, float32 (B,).

    With uniform timesteps, T L_{t-1} is an unbiased estimate of L_vlb. For it the mean is detached: this part of the
    objective trains the variance only (Nichol & Dhariwal 2021, section 3.1).
    """
    clean, noise, timesteps = schedule.scaling_factor * batch.clean(), batch.noise, batch.timesteps
    noisy = schedule.add_noise(clean, noise, timesteps)
    mean, learned = predict(denoiser, batch, noisy, timesteps).chunk(2, dim=1)
    losses = schedule.loss(mean, clean, noise, timesteps, config.snr_gamma, config.snr_floor)
    dtype = schedule.beta.dtype
    predicted = schedule.clean(mean.detach().to(dtype), noisy.to(dtype), timesteps)
    log_var = schedule.learned_log_variance(learned, timesteps)
    terms = bound_term(schedule, predicted, log_var, clean, noisy, timesteps)
    return losses + (VLB_WEIGHT * len(schedule) * terms).float()


def frozen(denoiser: ConditionalDenoiser) -> ConditionalDenoiser:
    """A copy that is not trained, with the mixed precision of the denoiser, and without its discriminator."""
    other = copy.copy(denoiser)  # a copy of the discriminator would only be thrown away
    other._modules = denoiser._modules | {"discriminator": None}
    return copy.deepcopy(other).eval().requires_grad_(False)


def other_model(
    flag: str, config: TrainingConfig, schedule: NoiseSchedule, denoiser: ConditionalDenoiser
) -> ConditionalDenoiser:
    """The frozen model of a flag; ValueError unless it is like the denoiser in all but weights and network size."""
    source = getattr(config, flag)
    pipeline = PokemonDDPMPipeline.from_pretrained(source)
    settings = pipeline.unet.config | pipeline.scheduler.config
    process = (config.prediction_type, NUM_TRAIN_TIMESTEPS, config.ddpm_beta_schedule, False)
    needed = denoiser.unet.config | dict(zip(PROCESS, process, strict=True))
    differing = [name for name in (*SHARED, *PROCESS) if settings.get(name) != needed.get(name)]
    differing += ["conditions"] * (pipeline.conditioner.vocabulary != denoiser.conditioner.vocabulary)
    if differing:
        raise ValueError(f"--{flag} {source} differs from the model in its {', '.join(differing)}.")
    other, device = frozen(denoiser), schedule.beta.device
    other.unet, other.conditioner = pipeline.unet.to(device), pipeline.conditioner.to(device)
    return other.requires_grad_(False)


def check_teacher(pipeline: PokemonDDPMPipeline, config: TrainingConfig) -> None:
    """Raises ValueError for a teacher that predicts epsilon or a variance, or was distilled to other steps."""
    trained, steps = pipeline.scheduler, pipeline.config.num_inference_steps
    epsilon, wrong = trained.config.prediction_type == "epsilon", ""
    if epsilon or pipeline.unet.config.out_channels != pipeline.unet.config.in_channels:
        wrong = "predicts epsilon, which at pure noise says nothing of the image, or a variance, which has no use here"
    elif is_distilled(trained) and config.distill_teacher_steps != steps:
        wrong = f"was itself distilled to {steps} steps and needs --distill_teacher_steps {steps}"
    if wrong:
        raise ValueError(f"--distill_from {config.distill_from} {wrong}.")
    student_steps(NUM_TRAIN_TIMESTEPS, config.ddpm_num_inference_steps)


def noise_level(schedule: NoiseSchedule, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t, float32 (B, 1, 1, 1), of timesteps (B,); 1 and 0 where they are `CLEAN`."""
    alpha, sigma = schedule.alpha_sigma(timesteps.clamp(min=0))
    clean = (timesteps == CLEAN).view(-1, 1, 1, 1)
    return torch.where(clean, 1.0, alpha), torch.where(clean, 0.0, sigma)


def ddim_step(noisy: Tensor, clean: Tensor, now: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> Tensor:
    """A DDIM step with eta 0 from z_t, where x is predicted, to z_s at a lower noise level, all (B, C, S, S).

    z_s = alpha_s x + sigma_s / sigma_t (z_t - alpha_t x) (Song et al. 2021, equation 12)
    """
    (alpha, sigma), (alpha_then, sigma_then) = now, then
    return alpha_then * clean + sigma_then / sigma * (noisy - alpha * clean)


def distillation_target(
    noisy: Tensor, reached: Tensor, now: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]
) -> Tensor:
    """x = (z_s - sigma_s / sigma_t z_t) / (alpha_s - sigma_s / sigma_t alpha_t) (Salimans & Ho 2022, algorithm 2).

    One step from z_t with this x leads to z_s, which the teacher's two steps reached, all (B, C, S, S).
    """
    (alpha, sigma), (alpha_then, sigma_then) = now, then
    ratio = sigma_then / sigma
    return (reached - ratio * noisy) / (alpha_then - ratio * alpha)


def student_steps(num_train_timesteps: int, count: int, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Of the student's `count` steps the one that contains each timestep: its start, middle and end, int64 (T,) each.

    The teacher's first of two steps leads to the middle, and the second to the end, `CLEAN` for the last one. Raises
    ValueError if the student's timesteps are not every second one of the teacher's.
    """
    sampler = student_scheduler(make_scheduler(num_train_timesteps))
    teacher, start = (set_timesteps(sampler, steps, "cpu") for steps in (2 * count, count))
    if not torch.equal(teacher[::2], start):
        hint = "the steps depend on rounding; use a power of two, or twice a divisor of 1000"
        raise ValueError(f"--distill_teacher_steps {2 * count}: {hint}.")
    middle, end = teacher[1::2], torch.cat([start[1:], torch.tensor([CLEAN])])
    step = (start[None] >= torch.arange(num_train_timesteps)[:, None]).sum(dim=1) - 1
    return tuple(table[step].to(device) for table in (start, middle, end))


class DistillationLoss:
    """Distance of the student's x to the one that does two of the teacher's steps in one.

    Salimans & Ho 2022, algorithm 2. The teacher's prediction is the guided one, at one guidance scale for all (Meng et
    al. 2023, section 3.1, where the student is conditioned on the scale): the teacher's own. Neither is clipped. The
    second of the teacher's two steps is of second order, unless it was distilled.

    The student still has its teacher's weights, which are copied, and no dropout: what it learns is a function of
    noise that is never sampled twice, so that it cannot be memorized.
    """

    def __init__(
        self, config: TrainingConfig, schedule: NoiseSchedule, student: nn.Module, teacher: PokemonDDPMPipeline
    ):
        self.frozen_model, self.schedule = frozen(student), schedule
        self.steps = student_steps(len(schedule), config.ddpm_num_inference_steps, schedule.beta.device)
        self.guidance_scale = teacher.config.guidance_scale
        self.teacher_order = 1 if is_distilled(teacher.scheduler) else 2

    def __call__(self, denoiser: nn.Module, batch: Batch) -> Tensor:
        """The loss of each image, float32 (B,), at the student's step that contains its timestep."""
        schedule, timesteps = self.schedule, self.steps[0][batch.timesteps]
        noisy = schedule.add_noise(schedule.scaling_factor * batch.clean(), batch.noise, timesteps)
        clean = schedule.clean(predict(denoiser, batch, noisy, timesteps), noisy, timesteps)
        # max(SNR, 1) (section 4): the SNR alone would be almost 0 at the first step, which starts at nearly noise.
        weight = schedule.clean_weight(snr_gamma=0, snr_floor=1)[timesteps].float()
        return weight * (clean - self.target(noisy, batch)).square().mean(dim=(1, 2, 3))

    @torch.no_grad()
    def target(self, noisy: Tensor, batch: Batch) -> Tensor:
        """x at the start of each image's step, float32 (B, C, S, S), for z_t (B, C, S, S) there."""
        start, halfway, end = (table[batch.timesteps] for table in self.steps)
        now, half, then = (noise_level(self.schedule, timesteps) for timesteps in (start, halfway, end))
        first = self.teacher_clean(noisy, start, batch)
        between = ddim_step(noisy, first, now, half)
        second = self.teacher_clean(between, halfway, batch)
        if self.teacher_order == 2:  # DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), but not to a clean image
            begin, middle, last = (alpha.log() - sigma.log() for alpha, sigma in (now, half, then))
            ratio = (last - middle) / (2 * (middle - begin))
            second = second + torch.where(last.isinf(), 0.0, ratio) * (second - first)
        reached = ddim_step(between, second, half, then)
        return distillation_target(noisy, reached, now, then)

    def teacher_clean(self, noisy: Tensor, timesteps: Tensor, batch: Batch) -> Tensor:
        """The teacher's guided x at z_t (B, C, S, S) and t (B,), float32 (B, C, S, S).

        Without any condition both predictions are equal, so the student keeps an unconditional model.
        """
        prediction = predict(self.frozen_model, batch, noisy, timesteps)
        if self.guidance_scale != 1:
            source = {name: ids for name, ids in batch.labels.items() if name == SOURCE}
            type_ids = torch.full_like(batch.labels["type"], self.frozen_model.conditioner.any_ids["type"])
            nothing = replace(batch, labels={"type": type_ids, **source})
            unconditional = predict(self.frozen_model, nothing, noisy, timesteps)
            prediction = torch.lerp(unconditional, prediction, self.guidance_scale)
        return self.schedule.clean(prediction, noisy, timesteps)


class AutoguidanceLoss:
    """Distance of x to that of autoguidance, so that sampling needs no guide.

    The target is x + (w - 1) (x_better - x_worse), where x is the prediction of a frozen copy of the network: equation
    3 of Karras et al. 2024, where x_better is x, and x_worse is that of a worse model with the same conditions, such
    as a copy that was fine-tuned on own samples (Alemohammad et al. 2024). The better one can be another model, too.
    Of the difference, the part along x is left out: it makes colors too strong (Sadat et al. 2024, η = 0).

    Above the configured timesteps the target is x itself, so that the composition of images stays as it is. It is x_0,
    that of the plain loss, below them, since guided at all timesteps colors become too strong; and for images without
    any condition, at whose prediction classifier-free guidance starts.
    Raises ValueError or OSError if another model does not exist, or differs in more than its network.
    """

    def __init__(self, config: TrainingConfig, schedule: NoiseSchedule, denoiser: ConditionalDenoiser):
        self.config, self.schedule, self.start = config, schedule, frozen(denoiser)
        interval = config.autoguidance_interval or AUTOGUIDANCE_INTERVAL
        self.low, self.high = (share * len(schedule) for share in interval)
        flags = [name for name in ("autoguidance_from", "autoguidance_better") if getattr(config, name)]
        others = (other_model(name, config, schedule, denoiser) for name in flags)
        self.frozen_model = nn.ModuleList([self.start, *others])

    def __call__(self, denoiser: nn.Module, batch: Batch) -> Tensor:
        """The loss of each image, float32 (B,), weighted as in training."""
        config, schedule, timesteps = self.config, self.schedule, batch.timesteps
        target = schedule.scaling_factor * batch.clean()
        noisy = schedule.add_noise(target, batch.noise, timesteps)
        prediction = predict(denoiser, batch, noisy, timesteps)
        guided = self.is_guided(batch)
        if guided.any():
            target[guided] = self.target(noisy[guided], batch.rows(guided))
        weight = schedule.clean_weight(config.snr_gamma, config.snr_floor)[timesteps].float()
        return weight * (schedule.clean(prediction, noisy, timesteps) - target).square().mean(dim=(1, 2, 3))

    def is_guided(self, batch: Batch) -> Tensor:
        """Which images have the target of autoguidance, or x itself, bool (B,)."""
        given = batch.timesteps < 0
        for name, ids in batch.labels.items():
            if name != SOURCE:  # All images have one.
                nothing = 0 if name == TAGS else self.start.conditioner.any_ids[name]
                given |= (ids != nothing).view(len(ids), -1).any(dim=1)
        return given & (batch.timesteps >= self.low)

    @torch.no_grad()
    def target(self, noisy: Tensor, batch: Batch) -> Tensor:
        """The x of autoguidance, float32 (B, C, S, S), for x_t (B, C, S, S)."""
        timesteps = batch.timesteps
        predictions = [predict(model, batch, noisy, timesteps) for model in self.frozen_model]
        images = [self.schedule.clean(prediction, noisy, timesteps) for prediction in predictions]
        clean, worse, better = [*images, images[0]][:3]  # Without a better model it is that of the start.
        difference = (timesteps < self.high).view(-1, 1, 1, 1) * (better - worse)
        along, square = ((clean * other).sum(dim=(1, 2, 3), keepdim=True) for other in (difference, clean))
        return clean + (self.config.autoguidance_scale - 1) * (difference - along / square * clean)
