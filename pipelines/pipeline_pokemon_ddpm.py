"""`PokemonDDPMPipeline`: new sprites under given conditions, used as any diffusers pipeline.

First what it is made of: schedulers, guidance, noise, and checks; then the pipeline.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput  # as type checkers see them
from PIL import Image
from torch import Tensor

from .file_checks import check_number, is_number
from .hub_mixin import HubMixin
from .sprite_preprocessing import model_pixels

PokemonType = str | int | tuple | Mapping | None
AttributeValue = str | bool | Sequence[str] | None

SAMPLERS: dict[str, type[SchedulerMixin]] = {
    "ddpm": DDPMScheduler,  # ancestral, Ho et al. 2020
    "ddim": DDIMScheduler,  # Song et al. 2021, eta 0
    "dpmsolver++": DPMSolverMultistepScheduler,  # 2M, Lu et al. 2022
    "sde-dpmsolver++": DPMSolverMultistepScheduler,  # its SDE solver, 2M with noise in each step
    "unipc": UniPCMultistepScheduler,  # order 2, Zhao et al. 2023
}
SCHEDULERS = tuple(dict.fromkeys(SAMPLERS.values()))
OUTPUT_TYPES = ("pil", "np", "pt", "latent")
CALLBACK_TENSORS = ("latents", "pred_original_sample", "prompt_embeds")  # the last is diffusers' name of embeddings
DEFAULTS = {"num_inference_steps": 50, "guidance_scale": 2.0, "default_conditions": {}}  # of a call
DEFAULTS_KEY = "_defaults"  # of those of a pipeline in its conditioner's configuration; it is not saved
MAX_IMAGES = 10_000  # of one type in a call
MAX_SCALE = 1000
WHITE_QUANTILE = 0.9  # of `compress_range`


def is_distilled(scheduler: SchedulerMixin) -> bool:
    """Whether a pipeline with this scheduler is a distilled one, which knows only its own timesteps."""
    return isinstance(scheduler, DPMSolverMultistepScheduler) and scheduler.config.solver_order == 1


def check_scheduler(scheduler: SchedulerMixin, trained: SchedulerMixin, learns_variance: bool) -> None:
    """Raises ValueError if a scheduler gives wrong images with a model that was trained with another one."""
    name, config, wrong = type(scheduler).__name__, scheduler.config, ["use_flow_sigmas"]
    if not isinstance(scheduler, SCHEDULERS):
        raise ValueError(f"{name} is not supported; use one of {', '.join(each.__name__ for each in SCHEDULERS)}.")
    if config.get("beta_schedule") == "squaredcos_cap_v2":  # two of their noise levels would be one timestep
        wrong += ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
    given, own = config.get("prediction_type"), trained.config.get("prediction_type")
    # With zero-terminal SNR some schedulers change the last alpha_bar so as not to divide by 0.
    alpha_bar, expected = scheduler.alphas_cumprod, trained.alphas_cumprod
    variances = ("fixed_small", "fixed_small_log", "fixed_large", *["learned_range"] * learns_variance)
    if given != own:
        problem = f"prediction_type {given!r}, but the model was trained with {own!r}"
    elif len(alpha_bar) != len(expected) or not torch.allclose(alpha_bar, expected, atol=1e-5):
        problem = "another noise schedule than the model was trained with"
    elif flags := [flag for flag in wrong if config.get(flag)]:
        problem = f"{flags[0]}=True, which gives wrong images with this model"
    elif isinstance(scheduler, DDPMScheduler) and config.variance_type not in variances:
        problem = f"variance_type {config.variance_type!r}, not one of {', '.join(variances)}"
    else:
        return
    raise ValueError(f"{name} has {problem}; create it with from_config(pipeline.scheduler.config).")


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int, device: torch.device | str) -> Tensor:
    """Sets and returns a scheduler's timesteps, corrected where diffusers' rounding goes wrong.

    Raises:
        ValueError: If the scheduler gives wrong results with this number of steps.
    """
    total, spacing = scheduler.config.num_train_timesteps, scheduler.config.get("timestep_spacing", "leading")
    if isinstance(scheduler, DDIMScheduler) and spacing != "leading":
        # DDIM's step goes back by T // n wherever the next timestep is. An error of up to 2 % a step is not visible.
        count = num_inference_steps
        if spacing != "trailing" or total / count - total // count > 0.02 * total / count:
            raise ValueError(
                f"{type(scheduler).__name__} with timestep_spacing={spacing!r} gives wrong results in {count} steps; "
                f"use 'trailing' and a divisor of {total}, or another scheduler."
            )
    scheduler.set_timesteps(num_inference_steps, device=device)
    if scheduler.timesteps[-1] == -1:  # "trailing" appends a timestep of -1 for some numbers of steps (61, 103, ...)
        scheduler.timesteps = scheduler.timesteps[:-1]
        if getattr(scheduler, "sigmas", None) is not None:
            scheduler.sigmas = torch.cat([scheduler.sigmas[:num_inference_steps], scheduler.sigmas[-1:]])
    last, first = scheduler.timesteps.aminmax()
    if not 0 <= last <= first < total:
        found = f"timesteps from {first:g} to {last:g}, outside {total - 1} to 0; change its steps_offset"
        raise ValueError(f"{type(scheduler).__name__} has {found}.")
    return scheduler.timesteps


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance of one call.

    Attributes:
        scales: Guidance scale s of each image; 1 is the conditional model.
        interval: Noise levels (low, high): guidance applies where low < sigma <= high, with sigma =
            sqrt(1 - alpha_bar) / sqrt(alpha_bar), for images in [-1, 1] (Kynkäänniemi et al. 2024, equation 5).
        rescale: phi of Lin et al. 2023, equation 16.
    """

    scales: Sequence[float]
    interval: tuple[float, float] = (0.0, math.inf)
    rescale: float = 0.0

    def applies(self, sigma: float) -> bool:
        """Whether a step at this noise level also needs the prediction without conditions."""
        low, high = self.interval
        return low < sigma <= high and any(scale != 1 for scale in self.scales)

    def guided(self, uncond: Tensor, cond: Tensor) -> Tensor:
        """The guided prediction uncond + s (cond - uncond), rescaled, (N, C, S, S).

        It is equation 6 of Ho & Salimans 2022 with s = w + 1.
        """
        scales = cond.new_tensor(self.scales).view(-1, 1, 1, 1)
        guided = torch.lerp(uncond, cond, scales)  # cond, bit for bit, where the scale is 1
        if not self.rescale:
            return guided
        contrast = cond.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
        return torch.lerp(guided, guided * contrast, self.rescale)


def predicted_original_sample(
    prediction_type: str, prediction: Tensor, sample: Tensor, alpha: Tensor | float, sigma: Tensor | float
) -> Tensor:
    """x_0 (N, C, S, S) from the network's output at `sample`, x_t = alpha x_0 + sigma epsilon, not clipped.

    The prediction type is "epsilon" (Ho et al. 2020), "v_prediction" (Salimans & Ho 2022, appendix D) or "sample";
    alpha and sigma are numbers or (N, 1, 1, 1).
    """
    if prediction_type == "sample":
        return prediction
    if prediction_type == "v_prediction":
        return alpha * sample - sigma * prediction
    return (sample - sigma * prediction) / alpha


def compress_range(images: Tensor) -> Tensor:
    """Images (N, C, S, S) with the colors that guidance has driven out of [-1, 1] brought back; alpha is not changed.

    Clipping makes them glaring, and light bodies flat white. As for dynamic thresholding (Saharia et al. 2022, section
    2.3), w is a quantile of the absolute values of the opaque part of each image, at least 1. Of each value v

        v (1 + |v| / w^2) / (1 + |v|)

    (Reinhard et al. 2002, equation 4) 0 stays 0, w becomes 1, and an image with w = 1 stays as it is.
    """
    result = images.clone()
    for image in result:
        colors = image[:3]
        found = colors[:, image[3] > 0] if len(image) == 4 else colors
        white = max(1.0, float(found.abs().quantile(WHITE_QUANTILE))) if found.numel() else 1.0
        image[:3] = colors * ((1 + colors.abs() / white**2) / (1 + colors.abs()))
    return result


def image_generators(generator: torch.Generator | list[torch.Generator] | None, count: int) -> list[torch.Generator]:
    """One generator for each image.

    A single generator that was just seeded with s gives image i the generator of seed s + i. A used one, or None for
    torch's default generator, gives seeds sampled from it, so that the next call makes new images.
    """
    generators = one_each("generator", torch.default_generator if generator is None else generator, count)
    if not all(isinstance(each, torch.Generator) for each in generators):
        raise ValueError(f"generator must be a torch.Generator, or a list with one per image, but is {generator!r}.")
    if isinstance(generator, list):
        return generators
    generator = generators[0]
    seed = generator.initial_seed()
    fresh = torch.equal(generator.get_state(), torch.Generator(generator.device).manual_seed(seed).get_state())
    sampled = int(torch.randint(2**62, (), generator=generator, device=generator.device))  # it counts as used from now
    first = seed if fresh else sampled
    return [torch.Generator().manual_seed((first + i) % 2**64) for i in range(count)]


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Spherical interpolation (Shoemake 1985) from `a` (weight 0) to `b` (weight 1), of any shape."""
    angle = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).clamp(-1, 1).acos()
    if angle < 1e-4:
        return torch.lerp(a, b, weight)
    return (((1 - weight) * angle).sin() * a + (weight * angle).sin() * b) / angle.sin()


def one_each(name: str, value: Any, count: int, kinds: Any = list, entry: str = "image") -> list:
    """An argument's value for each image: those of a list, which must be as many, or the same one for all."""
    values = list(value) if isinstance(value, kinds) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} must have one entry for each {entry} ({count}), but has {len(values)}.")
    return values


def scale_of_each(name: str, value: Any, count: int) -> list[float]:
    """A guidance scale for each image, checked."""
    scales = one_each(name, value, count, (list, tuple))
    for scale in scales:
        check_number(name, scale, -MAX_SCALE, MAX_SCALE)
    return [float(scale) for scale in scales]


def check_tensor(name: str, tensor: Any, shape: tuple[int, ...], in_range: bool = False) -> None:
    """Raises ValueError unless it is a finite floating-point tensor of the shape, with `in_range` in [-1, 1]."""
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
        given = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a tensor of shape {shape}, but is {given}.")
    if not (tensor.is_floating_point() and (tensor.abs() <= (1 if in_range else torch.finfo(tensor.dtype).max)).all()):
        within = " in [-1, 1]" if in_range else ""
        raise ValueError(f"{name} must have finite floating-point values{within}, but is {tensor.dtype}.")


class PokemonDDPMPipeline(HubMixin, DiffusionPipeline):
    """Class-conditional DDPM (Ho et al. 2020) with classifier-free guidance (Ho & Salimans 2022).

    Args:
        unet: `UNet2DModel` with `class_embed_type="identity"`.
        conditioner: `SpriteConditioner`, which makes the class embedding from the conditions.
        scheduler: One of `SCHEDULERS` with the noise schedule and prediction type of the training.
        num_inference_steps, guidance_scale: Defaults of a call.
        default_conditions: Attribute -> its value where a call gives none, such as {"view": "front"}.

    The defaults are saved with the model, and a pipeline of its `components` has them, too.
    """

    model_cpu_offload_seq = "conditioner->unet"

    def __init__(
        self,
        unet: UNet2DModel,
        conditioner: torch.nn.Module,
        scheduler: SchedulerMixin,
        num_inference_steps: int = None,  # a class alone, as diffusers before 0.37 needs it
        guidance_scale: float = None,
        default_conditions: dict = None,
    ):
        super().__init__()
        self.register_modules(unet=unet, conditioner=conditioner, scheduler=scheduler)
        given = (num_inference_steps, guidance_scale, default_conditions)
        kept = DEFAULTS | conditioner.config.get(DEFAULTS_KEY, {})
        self.register_to_config(
            **{name: kept[name] if value is None else value for name, value in zip(DEFAULTS, given, strict=True)}
        )
        self._interrupt, self._guidance_scale, self._num_timesteps = False, self.config.guidance_scale, 0
        self._trained_scheduler = scheduler

    @property
    def components(self) -> dict[str, Any]:
        """As in diffusers; the conditioner's configuration carries the defaults to a pipeline that is made of them."""
        defaults = {name: self.config[name] for name in DEFAULTS}
        self.conditioner.register_to_config(**{DEFAULTS_KEY: defaults})
        return super().components

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the present or last call is guided."""
        return bool((np.atleast_1d(self._guidance_scale) != 1).any())

    @property
    def guidance_scale(self) -> float | list[float]:
        """That of the present or last call."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Number of steps of that call."""
        return self._num_timesteps

    @torch.no_grad()
    def __call__(
        self,
        pokemon_type: PokemonType | list[PokemonType] = None,
        num_images_per_type: int = 1,
        num_inference_steps: int | None = None,
        guidance_scale: float | list[float] | None = None,
        guidance_interval: tuple[float, float] = (0.0, math.inf),
        guidance_rescale: float = 0.0,
        negative_pokemon_type: PokemonType | list[PokemonType] = None,
        image: Image.Image | list[Image.Image] | Tensor | None = None,
        strength: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        class_embeddings: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, int, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        class_labels: PokemonType | list[PokemonType] = None,
        **attributes: AttributeValue | list[AttributeValue],
    ) -> ImagePipelineOutput | Any:
        r"""Generates sprites.

        Every condition is optional. `pipeline.conditioner.vocabulary` lists the attributes and values of the model,
        and `pipeline.config.default_conditions` the values that a call uses by default; "any" means no condition.
        Without `image` and `class_embeddings`, an image draws color, shape, size and tags that are not given from its
        seed, see `SpriteConditioner.draw`.

        Args:
            pokemon_type: "fire" (one of its types is fire), "fire/flying" or a pair ("fire", "flying") (both),
                "fire/none" (fire only), an id, None (unconditional), or a blend of these, {"fire": 0.7, "water": 0.3}.
                A list has one entry per image.
            num_images_per_type: Images for each entry of `pokemon_type`; those of one entry follow each other.
            num_inference_steps: From 1 to the number of training timesteps; by default the model's own.
            guidance_scale: A number, or one per image; by default the model's own. 1 means no guidance, at half the
                cost.
            guidance_interval, guidance_rescale: See `Guidance`.
            negative_pokemon_type: Guide away from this type instead of the unconditional prediction; a list has one
                per image.
            image: Sprites to vary: an RGB image on white or an RGBA one, of any size, a list of one per image, or a
                tensor (N, C, S, S) in [-1, 1]. One of the model's size and mode stays in its place.
            strength: How much noise is added to `image`, from 0 to 1; by default 0.6.
            generator: One `torch.Generator` per image, or a single one: just seeded with s, it generates image i from
                seed s + i in any batch size. Noise is sampled on the generator's device (a single one: on the CPU).
            latents: Initial noise (N, C, S, S).
            class_embeddings: (N, D) from `conditioner.encode`, instead of all conditions.
            output_type: "pil" (RGB, or RGBA with an alpha of 0 or 255), "np" (float32 (N, S, S, C) in [0, 1], alpha
                as predicted), "pt" (the same as (N, C, S, S)) or "latent" (the final sample (N, C, S, S), which is in
                about [-1, 1] times `scaling_factor`).
            callback_on_step_end: Called as callback(pipeline, step_index, timestep, tensors) after each step; it may
                return new "latents", may set `pipeline._interrupt` to end the call after this step, and
                `pipeline._guidance_scale` for the following ones. diffusers' own callbacks work.
            callback_on_step_end_tensor_inputs: Some of `CALLBACK_TENSORS`: the latents, the predicted clean sample,
                and the class embeddings, to read. A `PipelineCallback` says itself what it needs.
            class_labels: The general name of `pokemon_type`, for models of other images: classes or their ids.
            **attributes: Other attributes, such as `color`, `view` and `legendary`: a value, "any", or None for the
                default; or a list of one for each entry of `pokemon_type`. `tags` are a set: ["fox", "wings"], or a
                list of such lists.

        Returns:
            `ImagePipelineOutput` with `images`; a tuple with them if `return_dict` is false.

        Raises:
            ValueError: If a value is out of its range, before anything is generated.
        """
        if class_labels is not None and pokemon_type is not None:
            raise ValueError("class_labels and pokemon_type are the same argument; pass only one.")
        pokemon_type = class_labels if pokemon_type is None else pokemon_type
        names = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        self.check_inputs(steps, guidance_interval, guidance_rescale, image, strength, output_type, names)
        # 1. The conditions of each image, and its guidance.
        types, values = self.expand_conditions(pokemon_type, attributes, class_embeddings, num_images_per_type)
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        guidance = Guidance(scale_of_each("guidance_scale", scale, len(types)), guidance_interval, guidance_rescale)
        generators = image_generators(generator, len(types))
        if class_embeddings is None:
            embeddings = self.encode_conditions(types, values, generators if image is None else ())
        else:
            embeddings = class_embeddings.to(self._execution_device).repeat_interleave(num_images_per_type, dim=0)
        negative = one_each("negative_pokemon_type", negative_pokemon_type, len(types))
        kept = {name: column for name, column in values.items() if name in self.conditioner.never_dropped}
        unconditional = self.conditioner.encode(negative, **kept)
        if torch.equal(unconditional, embeddings):
            guidance = replace(guidance, scales=[1.0])  # both predictions would be equal

        # 2. What sampling starts from: noise, or a noised image.
        clean = None if image is None else self.prepare_image("image", image, len(types), keep=True)
        noise = self.prepare_latents(generators, latents)
        set_timesteps(self.scheduler, steps, self._execution_device)
        timesteps, latents = self._start(noise, clean, 0.6 if strength is None else float(strength))

        # 3. From step to step less noise.
        self._interrupt, self._guidance_scale, self._num_timesteps = False, scale, len(timesteps)
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                sample = self.scheduler.scale_model_input(latents, t)
                prediction = self.predict(sample, t, unconditional, embeddings, guidance)
                latents = self._step(prediction, t, latents, generators)
                if callback_on_step_end is not None:
                    predicted = self._original_sample(prediction, t, sample)
                    tensors = {"latents": latents, "pred_original_sample": predicted, "prompt_embeds": embeddings}
                    latents, guidance = self._call_back(callback_on_step_end, i, t, tensors, names, guidance)
                progress_bar.update()
                if self._interrupt:
                    break

        # 4. From samples to images.
        if not latents.isfinite().all():
            raise ValueError("The samples are NaN or infinite: the weights are damaged, or too large for their dtype.")
        images = latents if output_type == "latent" else self.postprocess(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @torch.no_grad()
    def interpolate(
        self,
        a: str | int | tuple | Mapping[str, Any],
        b: str | int | tuple | Mapping[str, Any],
        steps: int,
        generator: list[torch.Generator] | torch.Generator | None = None,
        **arguments: Any,
    ) -> ImagePipelineOutput | Any:
        """Generates sprites between two: class embeddings are interpolated linearly, initial noise spherically.

        With a scheduler that adds noise in each step, all sprites get the same noise.

        Args:
            a: Type of the first sprite, or its conditions: {"pokemon_type": "fire", "color": "red"}.
            b: Those of the last one.
            steps: Number of sprites, 2 or more.
            generator: Two, for the initial noise of both; a single one, freshly seeded with s, means s and s + 1.
            **arguments: Further arguments of `__call__`, without conditions and latents.

        Raises:
            ValueError: As `__call__`.
        """
        check_number("steps", steps, 2, MAX_IMAGES, Integral)
        ends, embeddings = image_generators(generator, 2), []
        for conditions, end in zip((a, b), ends, strict=True):
            given = dict(conditions) if isinstance(conditions, Mapping) else {"pokemon_type": conditions}
            kind = given.pop("pokemon_type", given.pop("class_labels", None))
            draws = arguments.get("image") is None
            embeddings.append(self.encode_conditions(*self.expand_conditions(kind, given), [end] if draws else ()))
        noises = self.prepare_latents(ends)
        weights = [i / (steps - 1) for i in range(steps)]
        return self(
            class_embeddings=torch.cat([torch.lerp(*embeddings, weight) for weight in weights]),
            latents=torch.stack([slerp(*noises, weight) for weight in weights]),
            generator=[ends[0].clone_state() for _ in weights],
            **arguments,
        )

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of one sample."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.unet.config.in_channels, height, width

    @property
    def scaling_factor(self) -> float:
        """What images in [-1, 1] are multiplied by to become samples."""
        return self.unet.config.get("scaling_factor", 1.0)

    def check_inputs(
        self, num_inference_steps, guidance_interval, guidance_rescale, image, strength, output_type, tensor_inputs
    ) -> None:
        """Raises ValueError for what a call cannot use; see `__call__` for the arguments."""
        trained, own = self._trained_scheduler, self.config.num_inference_steps
        check_scheduler(self.scheduler, trained, self.unet.config.out_channels > self.unet.config.in_channels)
        self._check_steps(num_inference_steps)
        if is_distilled(trained) and not (is_distilled(self.scheduler) and num_inference_steps == own):
            raise ValueError(
                f"This model was distilled to {own} steps of its own scheduler; leave out num_inference_steps and "
                "keep the scheduler, or use its teacher."
            )
        is_pair = np.shape(guidance_interval) == (2,) and all(is_number(each, 0) for each in guidance_interval)
        if not (is_pair and guidance_interval[0] < guidance_interval[1]):
            raise ValueError(f"guidance_interval must be (low, high) with 0 <= low < high, not {guidance_interval!r}.")
        check_number("guidance_rescale", guidance_rescale, 0, 1)
        if image is None and strength is not None:
            raise ValueError("strength needs an image; pass image as well.")
        if strength is not None:
            check_number("strength", strength, 0, 1)
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, not {output_type!r}.")
        if not isinstance(tensor_inputs, (list, tuple)) or not all(name in CALLBACK_TENSORS for name in tensor_inputs):
            known = ", ".join(CALLBACK_TENSORS)
            raise ValueError(f"callback_on_step_end_tensor_inputs must be a list of {known}, not {tensor_inputs!r}.")

    def check_defaults(self) -> None:
        """Raises some exception if the defaults of a call, or the components, do not fit each other."""
        config, width = self.config, self.unet.time_embedding.linear_2.out_features
        embeddings = self.encode_conditions(*self.expand_conditions(None, {}))
        check_tensor("the embedding of the conditioner", embeddings, (1, width))
        self._check_steps(config.num_inference_steps)
        scale_of_each("guidance_scale", config.guidance_scale, 1)
        # A first step of zeros, since what can be built may not run. What is a ValueError, a call says: with other
        # arguments or another scheduler it may be possible.
        sample = torch.zeros(1, *self.sample_shape)
        prediction = sample[:, :1].repeat(1, self.unet.config.out_channels, 1, 1)
        with suppress(ValueError):
            check_scheduler(self.scheduler, self._trained_scheduler, learns_variance=True)
            first, *_ = set_timesteps(self.scheduler, config.num_inference_steps, "cpu")
            self._alpha_bar(first)
            self._step(prediction, first, sample, [torch.Generator()])

    def _check_steps(self, num_inference_steps: int) -> None:
        total = self.scheduler.config.num_train_timesteps
        check_number("num_inference_steps", num_inference_steps, 1, total, Integral)

    def prepare_image(self, name: str, images: Any, count: int, keep: bool = False) -> Tensor:
        """An argument with images as float32 (N, C, S, S) in [-1, 1]; for `keep` see `model_pixels`.

        Raises:
            ValueError: If they are of another kind, empty, or do not fit.
        """
        channels, height, width = self.sample_shape
        if not isinstance(images, Tensor):
            pixels = [model_pixels(name, each, channels, height, keep) for each in one_each(name, images, count)]
            images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        check_tensor(name, images, (count, channels, height, width), in_range=True)
        return images.float().to(self._execution_device)  # float64 does not exist on every device

    def expand_conditions(
        self,
        pokemon_type: PokemonType | list[PokemonType],
        attributes: Mapping[str, AttributeValue | list[AttributeValue]],
        class_embeddings: Tensor | None = None,
        num_images_per_type: int = 1,
    ) -> tuple[list[PokemonType], dict[str, list[AttributeValue]]]:
        """The type of each image, and attribute -> its value for each; arguments as of `__call__`.

        Values that are not given are the default ones.
        """
        check_number("num_images_per_type", num_images_per_type, 1, MAX_IMAGES, Integral)
        given = {name: value for name, value in attributes.items() if value is not None}
        argument, defaults = self.conditioner.argument, {**self.config.default_conditions}
        if class_embeddings is None:
            types = pokemon_type if isinstance(pokemon_type, list) else [pokemon_type]
            if not types:
                raise ValueError(f"{argument} is an empty list; pass at least one, or None for any.")
        else:
            if pokemon_type is not None or given:
                raise ValueError(f"class_embeddings replaces {argument} and all other conditions; pass only one.")
            count = max(1, len(class_embeddings)) if getattr(class_embeddings, "ndim", 0) == 2 else 1
            check_tensor("class_embeddings", class_embeddings, (count, self.unet.time_embedding.linear_2.out_features))
            types, defaults = [None] * count, {}
        values = {}
        for name, value in {**defaults, **given}.items():
            is_set = name in self.conditioner.sets and isinstance(value, list)
            if is_set and all(isinstance(word, str) for word in value):
                value = tuple(value)  # one set, for all images
            for_types = one_each(name, value, len(types), entry=argument)
            for_types = [defaults.get(name) if each is None else each for each in for_types]
            values[name] = [each for each in for_types for _ in range(num_images_per_type)]
        return [each for each in types for _ in range(num_images_per_type)], values

    def encode_conditions(
        self,
        types: list[PokemonType],
        values: dict[str, list[AttributeValue]],
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """The class embeddings (N, D) of what `expand_conditions` returns.

        With the generators of the images, attributes that are not given are drawn by their seeds into `values`, see
        `SpriteConditioner.draw`.
        """
        for i, generator in enumerate(generators):
            given = {name: column[i] for name, column in values.items()}
            for name, value in self.conditioner.draw(types[i], given, generator.initial_seed()).items():
                values.setdefault(name, [None] * len(types))[i] = value
        return self.conditioner.encode(types, **values)

    def _start(self, noise: Tensor, clean: Tensor | None, strength: float) -> tuple[Tensor, Tensor]:
        """The timesteps, and the sample (N, C, S, S) at the first: noise, or noised clean images.

        With these, they are the share `strength` of the scheduler's timesteps, rounded down, at least one.
        """
        timesteps = self.scheduler.timesteps
        if clean is None:
            return timesteps, noise * self.scheduler.init_noise_sigma
        start = len(timesteps) - max(1, int(len(timesteps) * strength))
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(start)
        clean = clean * self.scaling_factor
        return timesteps[start:], self.scheduler.add_noise(clean, noise, timesteps[start : start + 1])

    def _call_back(
        self, callback: Callable, i: int, t: Tensor, tensors: dict, names: Sequence[str], guidance: Guidance
    ) -> tuple[Tensor, Guidance]:
        """The sample and the guidance after a callback, which may return another sample and set a guidance scale."""
        latents, scale = tensors["latents"], self._guidance_scale
        changed = (callback(self, i, t, {name: tensors[name] for name in names}) or {}).get("latents", latents)
        if changed is not latents:
            self.scheduler.last_sample = None  # from which UniPC's corrector would undo the change
        if self._guidance_scale is not scale:  # as diffusers', which have no guidance below 1
            scales = scale_of_each("guidance_scale", self._guidance_scale, len(latents))
            guidance = replace(guidance, scales=[max(1.0, each) for each in scales])
        return changed.to(latents), guidance

    def prepare_latents(self, generators: list[torch.Generator], latents: Tensor | None = None) -> Tensor:
        """Initial unit Gaussian noise, float32 (N, C, S, S) on the device."""
        if latents is None:
            noise = [torch.randn(self.sample_shape, generator=each, device=each.device).cpu() for each in generators]
            latents = torch.stack(noise)
        check_tensor("latents", latents, (len(generators), *self.sample_shape))
        # float32 whatever the network computes in: a seed is the same noise for every dtype, and many small steps
        # would be lost in rounding.
        return latents.to(self._execution_device, torch.float32)

    def predict(
        self, sample: Tensor, t: Tensor, unconditional: Tensor, embeddings: Tensor, guidance: Guidance
    ) -> Tensor:
        """The network's prediction for a sample (N, C, S, S) at timestep t, float32, guided where guidance applies.

        With a learned variance it is (N, 2C, S, S), and only the mean is guided.

        Args:
            unconditional, embeddings: Class embeddings (N, D) without and with the conditions.
        """
        alpha_bar, sample = self._alpha_bar(t), sample.to(self.unet.dtype)
        sigma = math.sqrt((1 - alpha_bar) / alpha_bar) if alpha_bar else math.inf
        if not guidance.applies(sigma / self.scaling_factor):
            return self.unet(sample, t, class_labels=embeddings, return_dict=False)[0].float()
        labels = torch.cat([unconditional, embeddings])
        prediction = self.unet(sample.repeat(2, 1, 1, 1), t, class_labels=labels, return_dict=False)[0].float()
        mean, variance = prediction.tensor_split([sample.shape[1]], dim=1)
        return torch.cat([guidance.guided(*mean.chunk(2)), variance.chunk(2)[1]], dim=1)

    def _step(self, prediction: Tensor, t: Tensor, latents: Tensor, generators: list[torch.Generator]) -> Tensor:
        """One step of the scheduler, (N, C, S, S)."""
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        arguments = {"generator": generators} if takes_generator else {}
        ancestral = isinstance(self.scheduler, DDPMScheduler)
        if not (ancestral and self.scheduler.config.variance_type == "learned_range"):
            prediction = prediction[:, : latents.shape[1]]  # only DDPM uses a learned variance
        result = self.scheduler.step(prediction, t, latents, **arguments)
        if ancestral and t == self.scheduler.timesteps[-1]:
            # The last step leads to the clean sample; diffusers adds noise where that timestep is above 0.
            return result.pred_original_sample
        return result.prev_sample

    def _alpha_bar(self, t: Tensor) -> float:
        return self.scheduler.alphas_cumprod[int(t.round())].item()  # some solvers have timesteps between two

    def _original_sample(self, prediction: Tensor, t: Tensor, sample: Tensor) -> Tensor:
        alpha_bar, kind = self._alpha_bar(t), self.scheduler.config.prediction_type
        prediction = prediction[:, : sample.shape[1]]  # without a learned variance
        return predicted_original_sample(kind, prediction, sample, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    def postprocess(self, latents: Tensor, output_type: str) -> Any:
        """Samples (N, C, S, S) as "pil", "np" or "pt", see `__call__` and `compress_range`."""
        images = compress_range(latents.float().cpu() / self.scaling_factor)
        if output_type == "pil" and images.shape[1] == 4:
            opaque = images[:, 3:] > 0  # what is transparent is white
            images = torch.cat([torch.where(opaque, images[:, :3], 1.0), torch.where(opaque, 1.0, -1.0)], dim=1)
        return VaeImageProcessor().postprocess(images, output_type)
