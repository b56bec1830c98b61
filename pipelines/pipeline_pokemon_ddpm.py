"""`PokemonDDPMPipeline`: new sprites under given conditions, used as any diffusers pipeline."""

import difflib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    ImagePipelineOutput,
    SchedulerMixin,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from .hub_mixin import DEFAULTS_KEY, HubMixin
from .sprite_preprocessing import binary_alpha, fit_square, transparent

PokemonType = str | int | tuple | Mapping | None
AttributeValue = str | bool | None

TESTED_SCHEDULERS = (
    DDPMScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
    DEISMultistepScheduler,
)
OUTPUT_TYPES = ("pil", "np", "pt", "latent")
CALLBACK_TENSORS = ("latents", "pred_original_sample", "prompt_embeds")  # the last is diffusers' name of embeddings
# What the new image is to a reference, which tells little without them: in training they are dropped only together.
REFERENCE_CONDITIONS = {"relation", "view", "finish"}
OTHER_STAGE_SCALE = 1.5  # guided more, the next stage of a generated sprite is often the same drawing
MAX_SCALE = 1000  # of guidance
MAX_IMAGES = 10_000  # of one type in a call
SAME_DRAWING = 0.9  # strength with which another image of the same creature and view begins with its reference


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance.

    Attributes:
        scales: Guidance scale s of each image; 1 is the conditional model.
        image_scales: That by the reference sprite (s_I of Brooks et al. 2023, equation 3).
        interval: Noise levels (low, high): guidance applies where low < sigma <= high, with sigma =
            sqrt(1 - alpha_bar) / sqrt(alpha_bar), for images in [-1, 1] (Kynkäänniemi et al. 2024, equation 5).
        rescale: phi of Lin et al. 2023, equation 16.
    """

    scales: tuple[float, ...]
    image_scales: tuple[float, ...] = (1.0,)
    interval: tuple[float, float] = (0.0, math.inf)
    rescale: float = 0.0

    def passes(self, sigma: float, has_reference: bool) -> int:
        """How many predictions are needed at a noise level: the conditional one; that without conditions; and, with a
        reference, that without it.
        """
        low, high = self.interval
        if not low < sigma <= high:
            return 1
        if has_reference and any(scale != 1 for scale in self.image_scales):
            return 3
        return 2 if any(scale != 1 for scale in self.scales) else 1


def is_distilled(scheduler: SchedulerMixin) -> bool:
    """Whether a pipeline with this scheduler is a distilled one, which knows only its own timesteps."""
    return isinstance(scheduler, DPMSolverMultistepScheduler) and scheduler.config.solver_order == 1


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


def guided_prediction(predictions: Sequence[Tensor], scale: Tensor | float, image_scale: Tensor | float = 1) -> Tensor:
    """The guided prediction (N, C, S, S).

    Without a reference it is uncond + s * (cond - uncond), equation 6 of Ho & Salimans 2022 with s = w + 1; with one,
    uncond + s_I * (image - uncond) + s * (cond - image), equation 3 of Brooks et al. 2023.

    Args:
        predictions: uncond, image (knowing the reference and `REFERENCE_CONDITIONS`) and cond, where s_I is 1 without
            uncond; without a reference uncond and cond; without guidance cond.
        scale, image_scale: s and s_I, numbers or (N, 1, 1, 1).
    """
    *others, cond = predictions
    if not others:
        return cond
    guided = torch.lerp(others[-1], cond, scale)  # cond, bit for bit, where the scale is 1
    return guided if len(others) == 1 else guided + (image_scale - 1) * (others[1] - others[0])


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int, device: torch.device | str) -> Tensor:
    """Sets and returns a scheduler's timesteps, corrected where diffusers' rounding goes wrong.

    Raises:
        ValueError: If the scheduler gives wrong results with this number of steps.
    """
    name, total = type(scheduler).__name__, scheduler.config.num_train_timesteps
    spacing = scheduler.config.get("timestep_spacing", "leading")
    if isinstance(scheduler, DDIMScheduler) and spacing != "leading":
        # DDIM's step goes back by T // n wherever the next timestep is. An error of up to 2 % a step is not visible.
        possible = [n for n in range(1, total + 1) if total / n - total // n <= 0.02 * total / n]
        if spacing != "trailing" or num_inference_steps not in possible:
            near = sorted(possible, key=lambda n: abs(n - num_inference_steps))[:3]
            raise ValueError(
                f"{name} with timestep_spacing={spacing!r} gives wrong results in {num_inference_steps} steps; use "
                f"'trailing' and one of {sorted(near)} steps, or another scheduler."
            )
    scheduler.set_timesteps(num_inference_steps, device=device)
    if scheduler.timesteps[-1] < 0:
        # "trailing" spacing appends a timestep of -1 for some numbers of steps (61, 103, ...).
        scheduler.timesteps = scheduler.timesteps[:-1]
        sigmas = getattr(scheduler, "sigmas", None)
        if sigmas is not None:
            if len(sigmas) != num_inference_steps + 2:
                raise ValueError(f"{name} does not support {num_inference_steps} steps; use one step fewer.")
            scheduler.sigmas = torch.cat([sigmas[:num_inference_steps], sigmas[-1:]])
    return scheduler.timesteps


def _failure(scheduler: SchedulerMixin) -> str | None:
    """What a scheduler raises at its first step, such as diffusers' PNDM where the network predicts the sample."""
    trial, sample = scheduler.from_config(scheduler.config), torch.zeros(1, 3, 8, 8)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trial.set_timesteps(min(20, trial.config.num_train_timesteps))
            t = trial.timesteps[0]
            trial.step(sample, t, trial.scale_model_input(sample, t))
        except Exception as error:  # diffusers' schedulers raise all kinds
            return " ".join(str(error).split())[:200]
    return None


def image_generators(generator: torch.Generator | list[torch.Generator] | None, count: int) -> list[torch.Generator]:
    """One generator an image.

    A single generator that was just seeded with s gives image i the generator of seed s + i. A used one, or None for
    torch's default generator, gives seeds sampled from it, so that the next call makes new images.
    """
    if isinstance(generator, list):
        return generator
    generator = generator or torch.default_generator
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


class PokemonDDPMPipeline(HubMixin, DiffusionPipeline):
    """Class-conditional DDPM (Ho et al. 2020) with classifier-free guidance (Ho & Salimans 2022).

    Args:
        unet: `UNet2DModel` with `class_embed_type="identity"`.
        conditioner: `SpriteConditioner`, which makes the class embedding from the conditions.
        scheduler: One of `TESTED_SCHEDULERS` with the noise schedule and prediction type of the training.
        num_inference_steps, guidance_scale, image_guidance_scale: Defaults of a call.
        reference_guidance_scale: Default of `guidance_scale` in a call with a reference.
        default_conditions: Attribute -> its value where a call gives none, such as {"view": "front"}.

    The defaults are saved with the model. What is None is that of the saved model that the conditioner comes from;
    otherwise 50 steps, scales of 2 and 1, the same guidance scale with a reference, and no conditions.
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
        image_guidance_scale: float = None,
        reference_guidance_scale: float = None,
    ):
        super().__init__()
        self.register_modules(unet=unet, conditioner=conditioner, scheduler=scheduler)
        saved = getattr(conditioner, "config", {}).get(DEFAULTS_KEY, {})
        defaults = {
            "num_inference_steps": (num_inference_steps, 50),
            "guidance_scale": (guidance_scale, 2.0),
            "image_guidance_scale": (image_guidance_scale, 1.0),
            "reference_guidance_scale": (reference_guidance_scale, None),
            "default_conditions": (default_conditions, {}),
        }
        self.register_to_config(
            **{name: saved.get(name, new) if given is None else given for name, (given, new) in defaults.items()}
        )
        self._interrupt, self._guidance_scale, self._num_timesteps = False, self.config.guidance_scale, 0
        self._trained_scheduler = scheduler

    @property
    def guidance_scale(self) -> float | list[float]:
        """That of the present or last call."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether a guidance scale of that call is above 1."""
        return bool(np.max(self._guidance_scale) > 1)

    @property
    def num_timesteps(self) -> int:
        """Number of steps of that call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether a callback has ended that call."""
        return self._interrupt

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
        reference_image: Image.Image | list[Image.Image] | Tensor | None = None,
        image_guidance_scale: float | list[float] | None = None,
        reference_view: str | None = None,
        image: Image.Image | list[Image.Image] | Tensor | None = None,
        mask_image: Image.Image | Tensor | None = None,
        strength: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        class_embeddings: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, int, dict], dict | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        class_labels: PokemonType | list[PokemonType] = None,
        batch_size: int | None = None,
        **attributes: AttributeValue | list[AttributeValue],
    ) -> ImagePipelineOutput | tuple:
        r"""Generates sprites.

        Every condition is optional. `pipeline.conditioner.vocabulary` lists the attributes and values of the model,
        `pipeline.config.default_conditions` those that apply where a call does not give them; "any" is none of them.

        Args:
            pokemon_type: "fire" (one of its types is fire), "fire/flying" or a pair ("fire", "flying") (both),
                "fire/none" (fire only), an id, None (unconditional), or a blend of these, {"fire": 0.7, "water": 0.3}.
                A list has one entry an image.
            num_images_per_type: Images for each entry of `pokemon_type`; those of one entry follow each other.
            num_inference_steps: From 1 to the number of training timesteps; by default the model's own.
            guidance_scale: A number, or one an image; by default the model's own, perhaps another with a reference.
                1 is no guidance, at half the cost.
            guidance_interval: Noise levels (low, high) with guidance, see `Guidance`.
            guidance_rescale: From 0 to 1, see `Guidance`.
            negative_pokemon_type: Guide away from this type instead of the unconditional prediction. A list has one
                for each entry of `pokemon_type`, or one an image.
            reference_image: A sprite of the creature, to see it from another side, in other colors, or at another
                stage; for models trained with references. An RGB image on white or an RGBA one, of any size, a list
                of one an image, or a tensor (N, C, S, S) in [-1, 1]. The attribute `relation` says what the new image
                is to it: "same" (default), "next" or "previous" stage of its evolution. Except for other colors, give
                another `generator` than the reference had: the same noise is often the same drawing.
            image_guidance_scale: How closely to follow the reference: a number, or one an image; by default the
                model's own, for another stage at most `OTHER_STAGE_SCALE`. With 1 it is not guided, which saves one
                pass of three.
            reference_view: What the reference shows, by default the view of `default_conditions`. Images with the same
                view and the relation "same" keep its drawing: without `image`, sampling begins with the reference,
                noised with a strength of `SAME_DRAWING`.
            image: Sprites to vary: an image, a list of one an image, or a tensor (N, C, S, S) in [-1, 1]. An image of
                another size or mode than the model's is converted, for models with transparency as a reference is.
            mask_image: Region of `image` to repaint: an image, white where it may change, or a tensor (1, 1, S, S) or
                (N, 1, S, S) in [0, 1].
            strength: How much noise is added to `image`, above 0 and at most 1; by default 0.6, with a mask 1.
            generator: One `torch.Generator` an image, or a single one: freshly seeded with s, image i is that of seed
                s + i in any batch size. Noise is sampled on the generator's device (a single one: on the CPU).
            latents: Initial noise (N, C, S, S).
            class_embeddings: (N, D) from `conditioner.encode`, instead of all conditions.
            output_type: "pil" (RGB, or RGBA with an alpha of 0 or 255), "np" (float32 (N, S, S, C) in [0, 1], alpha
                as predicted), "pt" (the same as (N, C, S, S)) or "latent" (the final sample (N, C, S, S), which is in
                about [-1, 1] times `scaling_factor`).
            callback_on_step_end: Called as callback(pipeline, step_index, timestep, tensors) after each step; it may
                return new "latents", may set `pipeline._interrupt` to end the call after this step, and
                `pipeline._guidance_scale` for the following ones. diffusers' own callbacks work.
            callback_on_step_end_tensor_inputs: Some of "latents", "pred_original_sample" (the predicted clean one) and
                "prompt_embeds" (the class embeddings, to read). A `PipelineCallback` says itself what it needs.
            class_labels: The general name of `pokemon_type`, for models of other images: classes or their ids.
            batch_size: `num_images_per_type` of a single type, as in `DDPMPipeline`.
            **attributes: Other attributes, such as `color`, `view` and `legendary`: a value, "any", or None for the
                default; or a list of one for each entry of `pokemon_type`.

        Returns:
            `ImagePipelineOutput` with `images`; a tuple with them if `return_dict` is false.

        Raises:
            ValueError: If a value is out of its range, before anything is generated.
            TypeError: If `pokemon_type` contains something that is no type, or an argument is misspelt.
        """
        if class_labels is not None:
            if pokemon_type is not None:
                raise ValueError("class_labels and pokemon_type are two names of one argument; pass only one.")
            pokemon_type = class_labels
        if batch_size is not None:
            _check_count("batch_size", batch_size)
            is_list = isinstance(pokemon_type, list) or getattr(pokemon_type, "ndim", 0)
            if is_list or class_embeddings is not None or num_images_per_type != 1:
                raise ValueError(
                    "batch_size is the number of images of one type; pass num_images_per_type alone instead."
                )
            num_images_per_type = batch_size
        if reference_image is None and (image_guidance_scale is not None or reference_view is not None):
            raise ValueError(
                "image_guidance_scale and reference_view are about a reference; pass reference_image as well."
            )
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        own = self.config.guidance_scale
        if reference_image is not None:
            own = self.config.reference_guidance_scale or own
        scale = own if guidance_scale is None else guidance_scale
        embeddings, values = self.encode_conditions(
            pokemon_type, attributes, class_embeddings, num_images_per_type, reference_image is not None
        )
        count = len(embeddings)
        if image_guidance_scale is None:
            image_guidance_scale = own = self.config.image_guidance_scale
            if reference_image is not None:
                ids = [self.conditioner.attribute_id("relation", each) for each in values["relation"]]
                same = self.conditioner.attribute_id("relation", "same")
                image_guidance_scale = [own if each == same else min(own, OTHER_STAGE_SCALE) for each in ids]
        if isinstance(negative_pokemon_type, list) and len(negative_pokemon_type) * num_images_per_type == count:
            negative_pokemon_type = [each for each in negative_pokemon_type for _ in range(num_images_per_type)]
        negative = _one_each("negative_pokemon_type", negative_pokemon_type, count)
        scales = _one_each("guidance_scale", scale, count, (list, tuple))
        image_scales = _one_each("image_guidance_scale", image_guidance_scale, count, (list, tuple))
        if isinstance(callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        self.check_inputs(
            count, steps, scales, image_scales, guidance_interval, guidance_rescale, image, mask_image, strength,
            generator, latents, output_type, callback_on_step_end, callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        clean, mask = self.prepare_image(image, mask_image, count)
        reference = self.prepare_reference(reference_image, count)
        all_embeddings = [self.conditioner.encode(negative), embeddings]  # in the order of `predict`
        if reference is not None:
            known = {name: values[name] for name in REFERENCE_CONDITIONS & values.keys()}
            all_embeddings.insert(1, self.conditioner.encode(negative, **known))
            if self._keeps_drawing(values, reference_view) and clean is None and self.scheduler.order == 1:
                clean, strength = reference, SAME_DRAWING
        if torch.equal(*all_embeddings[-2:]):
            scales = [1] * count  # both predictions would be equal
        guidance = Guidance(
            tuple(map(float, scales)), tuple(map(float, image_scales)), tuple(guidance_interval), guidance_rescale
        )

        timesteps = set_timesteps(self.scheduler, steps, self._execution_device)
        generators = image_generators(generator, count)
        noise = self.prepare_latents(generators, latents)
        if clean is None:
            latents = noise * self.scheduler.init_noise_sigma
        else:
            default_strength = 0.6 if mask is None else 1.0
            timesteps = self._last_timesteps(default_strength if strength is None else float(strength))
            clean = clean * self.scaling_factor
            latents = self.scheduler.add_noise(clean, noise, timesteps[:1])

        self._interrupt, self._guidance_scale, self._num_timesteps = False, scale, len(timesteps)
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                sample = self.scheduler.scale_model_input(latents, t)
                prediction = self.predict(sample, t, all_embeddings, guidance, reference)
                latents = self._step(prediction, t, latents, generators)
                if mask is not None:
                    # RePaint (Lugmayr et al. 2022, section 4.1) without its resampling.
                    following = timesteps[i + 1 : i + 2]
                    known = self.scheduler.add_noise(clean, noise, following) if len(following) else clean
                    latents = torch.where(mask, latents, known)
                if callback_on_step_end is not None:
                    predicted = self._original_sample(prediction, t, sample)
                    tensors = {"latents": latents, "pred_original_sample": predicted, "prompt_embeds": embeddings}
                    tensors = {name: tensors[name] for name in callback_on_step_end_tensor_inputs}
                    latents = _replaced_latents(callback_on_step_end(self, i, t, tensors), latents)
                    if self._guidance_scale is not scale:  # as diffusers', which have no guidance below 1
                        scale = self._guidance_scale
                        scales = _one_each("_guidance_scale", scale, count, (list, tuple))
                        _check_scales("_guidance_scale", scales)
                        guidance = replace(guidance, scales=tuple(max(1.0, float(each)) for each in scales))
                progress_bar.update()
                if self._interrupt:
                    break
        if not latents.isfinite().all():
            raise ValueError("The samples are NaN or infinite: the weights are damaged, or too large for their dtype.")
        images = latents if output_type == "latent" else self.postprocess(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @torch.no_grad()
    def interpolate(
        self,
        a: PokemonType | Mapping[str, Any],
        b: PokemonType | Mapping[str, Any],
        steps: int,
        generator: list[torch.Generator] | torch.Generator | None = None,
        **arguments: Any,
    ) -> ImagePipelineOutput | tuple:
        """Generates sprites between two: class embeddings are interpolated linearly, initial noise spherically.

        With a scheduler that adds noise in each step, all sprites get the same noise.

        Args:
            a: Type of the first sprite, or its conditions: {"pokemon_type": "fire", "color": "red"}.
            b: Those of the last one.
            steps: Number of sprites, 2 or more.
            generator: Two, for the initial noise of both; a single one, freshly seeded with s, means s and s + 1.
            **arguments: Further arguments of `__call__`, without conditions and latents.

        Raises:
            ValueError, TypeError: As `__call__`.
        """
        _check_count("steps", steps, 2)
        fixed = {"pokemon_type", "class_labels", "class_embeddings", "latents", *self.conditioner.vocabulary}
        if isinstance(a, list) or isinstance(b, list) or fixed & arguments.keys():
            example = "{'pokemon_type': 'fire', 'color': 'red'}"
            raise ValueError(f"interpolate takes the conditions of one sprite in a and of one in b, like {example}.")
        ends = [self.encode_conditions(*_split_conditions(each))[0] for each in (a, b)]
        _check_generators(generator, 2)
        first, second = image_generators(generator, 2)
        noises = self.prepare_latents([first, second])
        weights = [i / (steps - 1) for i in range(steps)]
        return self(
            class_embeddings=torch.cat([torch.lerp(*ends, weight) for weight in weights]),
            latents=torch.stack([slerp(*noises, weight) for weight in weights]),
            generator=[first.clone_state() for _ in weights],
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
        self, count, num_inference_steps, guidance_scales, image_scales, guidance_interval, guidance_rescale, image,
        mask_image, strength, generator, latents, output_type, callback, tensor_inputs,
    ) -> None:  # fmt: skip
        """Raises ValueError for what a call cannot use; see `__call__` for the arguments."""
        self._check_scheduler(num_inference_steps)
        self._check_steps(num_inference_steps)
        _check_scales("guidance_scale", guidance_scales)
        _check_scales("image_guidance_scale", image_scales)
        low, high = guidance_interval if np.shape(guidance_interval) == (2,) else (None, None)
        if not (_is_number(low, 0, math.inf) and _is_number(high, 0, math.inf) and low < high):
            raise ValueError(f"guidance_interval must be (low, high) with 0 <= low < high, not {guidance_interval!r}.")
        if not _is_number(guidance_rescale, 0, 1):
            raise ValueError(f"guidance_rescale must be a number from 0 to 1, not {guidance_rescale!r}.")
        if strength is not None and not (_is_number(strength, 0, 1) and strength > 0):
            raise ValueError(f"strength must be above 0 and at most 1, not {strength!r}.")
        if image is None and (strength is not None or mask_image is not None):
            raise ValueError("strength and mask_image change an image; pass image as well.")
        _check_generators(generator, count)
        if latents is not None:
            _check_tensor("latents", latents, [(count, *self.sample_shape)])
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, not {output_type!r}.")
        if callback is not None and not callable(callback):
            raise ValueError(f"callback_on_step_end must be callable, but is {callback!r}.")
        if not isinstance(tensor_inputs, (list, tuple)) or not all(name in CALLBACK_TENSORS for name in tensor_inputs):
            known = ", ".join(CALLBACK_TENSORS)
            raise ValueError(f"callback_on_step_end_tensor_inputs must be a list of {known}, not {tensor_inputs!r}.")

    def check_defaults(self) -> None:
        """Raises ValueError if the defaults of a call, or the components, do not fit each other."""
        config, width = self.config, self.unet.time_embedding.linear_2.out_features
        if not isinstance(config.default_conditions, Mapping):
            raise ValueError(f"default_conditions must be attributes and values, not {config.default_conditions!r}.")
        embeddings, _ = self.encode_conditions(None, {})
        if embeddings.shape[1] != width:
            raise ValueError(
                f"the conditioner has embedding_dim {embeddings.shape[1]}, but the network needs {width}."
            )
        self._check_steps(config.num_inference_steps)
        for name in ("guidance_scale", "image_guidance_scale", "reference_guidance_scale"):
            _check_scales(name, [1 if config[name] is None and name.startswith("reference") else config[name]])

    def _check_steps(self, num_inference_steps: int) -> None:
        total = self.scheduler.config.num_train_timesteps
        if not _is_number(num_inference_steps, 1, total, Integral):
            raise ValueError(f"num_inference_steps must be an integer from 1 to {total}, not {num_inference_steps!r}.")

    def _check_scheduler(self, num_inference_steps: int) -> None:
        scheduler, config, trained = self.scheduler, self.scheduler.config, self._trained_scheduler
        name, remedy = type(scheduler).__name__, "create it with from_config(pipeline.scheduler.config)."
        if not isinstance(scheduler, TESTED_SCHEDULERS):
            known = ", ".join(each.__name__ for each in TESTED_SCHEDULERS)
            if not hasattr(scheduler, "alphas_cumprod"):
                raise ValueError(f"{name} is not for models trained on discrete timesteps; use one of {known}.")
            if reason := _failure(scheduler):
                raise ValueError(f"{name} does not work with this model ({reason}); use one of {known}.")
            warnings.warn(f"{name} is untested here and may give wrong images; tested are {known}.", stacklevel=5)
        is_cosine = config.get("beta_schedule") == "squaredcos_cap_v2"
        given, own = config.get("prediction_type"), trained.config.get("prediction_type")
        if given != own:
            raise ValueError(f"{name} has prediction_type {given!r}, but the model was trained with {own!r}; {remedy}")
        # With zero-terminal SNR some schedulers change the last alpha_bar so as not to divide by 0.
        alpha_bar, own = scheduler.alphas_cumprod, trained.alphas_cumprod
        if len(alpha_bar) != len(own) or not torch.allclose(alpha_bar, own, atol=1e-5):
            raise ValueError(f"{name} has another noise schedule than the model was trained with; {remedy}")
        wrong = ["use_flow_sigmas"]
        if is_cosine:  # two of their noise levels would be one timestep
            wrong += ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
        for flag in wrong:
            if config.get(flag):
                raise ValueError(f"{name} with {flag}=True gives wrong images with this model; set {flag}=False.")
        learned = ("learned_range",) if self.unet.config.out_channels > self.unet.config.in_channels else ()
        allowed = ("fixed_small", "fixed_small_log", "fixed_large", *learned)
        if isinstance(scheduler, DDPMScheduler) and config.variance_type not in allowed:
            raise ValueError(f"{name} has variance_type {config.variance_type!r}; use one of {', '.join(allowed)}.")
        own = self.config.num_inference_steps
        if is_distilled(trained) and not (is_distilled(scheduler) and num_inference_steps == own):
            raise ValueError(
                f"This model was distilled to {own} steps of its own scheduler; leave out num_inference_steps and "
                "keep the scheduler, or use its teacher."
            )

    def prepare_image(self, image: Any, mask_image: Any, count: int) -> tuple[Tensor | None, ...]:
        """`image` as float32 (N, C, S, S) in [-1, 1], and `mask_image` as bool (1 or N, 1, S, S), if they are given.

        Raises:
            ValueError: If the scheduler does not support them, or they do not fit the model.
        """
        if image is None:
            return None, None
        _, height, width = self.sample_shape
        if self.scheduler.order > 1:
            raise ValueError(f"{type(self.scheduler).__name__} does not support image; use another scheduler.")
        clean = self._as_tensor("image", image, count, _square)
        if mask_image is None:
            return clean, None
        if not isinstance(mask_image, Tensor):
            if not isinstance(mask_image, Image.Image):
                raise ValueError(f"mask_image must be an image or a tensor, but is {mask_image!r}.")
            _check_mode("mask_image", mask_image)
            mask_image = mask_image.convert("L").resize((width, height), Image.Resampling.NEAREST)
            mask_image = torch.from_numpy(np.array(mask_image) / 255)[None, None]
        _check_tensor("mask_image", mask_image, [(1, 1, height, width), (count, 1, height, width)], low=0)
        return clean, (mask_image > 0.5).to(clean.device)

    def prepare_reference(self, reference_image: Any, count: int) -> Tensor | None:
        """`reference_image` as float32 (N, C, S, S) in [-1, 1], prepared as the training images, if it is given.

        Raises:
            ValueError: If it is of another kind, empty, or does not fit.
        """
        return None if reference_image is None else self._as_tensor("reference_image", reference_image, count, _sprite)

    def _as_tensor(self, name: str, images: Any, count: int, fit: Callable[..., np.ndarray]) -> Tensor:
        """An argument with images as float32 (N, C, S, S) in [-1, 1]; `fit` makes the pixels of one of them."""
        channels, height, width = self.sample_shape
        if not isinstance(images, Tensor):
            pixels = np.stack([fit(each, name, channels, height) for each in _one_each(name, images, count)])
            images = _with_binary_alpha(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
        _check_tensor(name, images, [(count, channels, height, width)], low=-1)
        return images.float().to(self._execution_device)  # float64 does not exist on every device

    def encode_conditions(
        self,
        pokemon_type: PokemonType | list[PokemonType],
        attributes: Mapping[str, AttributeValue | list[AttributeValue]],
        class_embeddings: Tensor | None = None,
        num_images_per_type: int = 1,
        has_reference: bool = False,
    ) -> tuple[Tensor, dict[str, list[AttributeValue]]]:
        """The class embeddings (N, D), and attribute -> its value for each image, as far as they are known.

        Arguments as of `__call__`. Values that are not given are the default ones, and to a reference "same".
        """
        self._check_names(attributes)
        _check_count("num_images_per_type", num_images_per_type)
        given = {name: value for name, value in attributes.items() if value is not None}
        if has_reference and "relation" not in self.conditioner.vocabulary:
            raise ValueError("This model was not trained with reference sprites; leave out reference_image.")
        if "relation" in given and not has_reference:
            raise ValueError("relation says what the image is to its reference; pass reference_image as well.")
        argument = self.conditioner.argument
        if class_embeddings is None:
            if getattr(pokemon_type, "ndim", 0) == 1:  # an array or tensor of ids
                pokemon_type = pokemon_type.tolist()
            types = pokemon_type if isinstance(pokemon_type, list) else [pokemon_type]
            defaults = self.config.default_conditions
            if not types:
                raise ValueError(f"{argument} is an empty list; pass at least one, or None for any.")
        else:
            if pokemon_type is not None or given.keys() - {"relation"}:
                raise ValueError(f"class_embeddings replace {argument} and all other conditions; pass only one.")
            count = max(1, len(class_embeddings)) if getattr(class_embeddings, "ndim", 0) == 2 else 1
            width = self.unet.time_embedding.linear_2.out_features
            _check_tensor("class_embeddings", class_embeddings, [(count, width)])
            types, defaults = [None] * count, {}
        if has_reference:
            defaults = {**defaults, "relation": "same"}
        values = {}
        for name, value in {**defaults, **given}.items():
            for_types = _one_each(name, value, len(types), entry=f"a {argument}")
            for_types = [defaults.get(name) if each is None else each for each in for_types]
            values[name] = [each for each in for_types for _ in range(num_images_per_type)]
        if class_embeddings is not None:
            return class_embeddings.to(self._execution_device).repeat_interleave(num_images_per_type, dim=0), values
        types = [each for each in types for _ in range(num_images_per_type)]
        return self.conditioner.encode(types, **values), values

    def _check_names(self, attributes: Mapping[str, Any]) -> None:
        """Raises TypeError for a misspelt argument; other unknown ones are refused by the conditioner."""
        names = [*self.conditioner.vocabulary, *inspect.signature(self.__call__).parameters]
        for name in attributes:
            close = ["pokemon_type"] if name == "type" else difflib.get_close_matches(name, names, n=1, cutoff=0.8)
            if close and close[0] != name:
                raise TypeError(f"There is no argument {name!r}. Did you mean {close[0]!r}?")

    def _keeps_drawing(self, values: Mapping[str, list[AttributeValue]], reference_view: str | None) -> bool:
        """Whether all images are wanted as the reference shows the creature; raises ValueError for an unknown view."""
        if reference_view is not None:
            self.conditioner.attribute_id("view", reference_view)
        view = reference_view or self.config.default_conditions.get("view")
        if view is None or "view" not in self.conditioner.vocabulary:
            return False
        attribute_id = self.conditioner.attribute_id
        for name, shown in {"view": view, "relation": "same"}.items():
            if {attribute_id(name, each) for each in values.get(name, ())} != {attribute_id(name, shown)}:
                return False
        return True

    def _last_timesteps(self, strength: float) -> Tensor:
        """The share `strength` of the scheduler's timesteps, rounded down, at least one; sets it to begin there."""
        timesteps = self.scheduler.timesteps
        start = len(timesteps) - max(1, int(len(timesteps) * strength))
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(start)
        return timesteps[start:]

    def prepare_latents(self, generators: list[torch.Generator], latents: Tensor | None = None) -> Tensor:
        """Initial unit Gaussian noise, float32 (N, C, S, S) on the device."""
        if latents is None:
            noise = [torch.randn(self.sample_shape, generator=each, device=each.device).cpu() for each in generators]
            latents = torch.stack(noise)
        # float32 whatever the network computes in: a seed is the same noise for every dtype, and many small steps
        # would be lost in rounding.
        return latents.to(self._execution_device, torch.float32)

    def predict(
        self, sample: Tensor, t: Tensor, embeddings: list[Tensor], guidance: Guidance, reference: Tensor | None = None
    ) -> Tensor:
        """The network's prediction for a sample (N, C, S, S) at timestep t, float32, guided where guidance applies.

        It is that of `guided_prediction`, then rescaled. With a learned variance it is (N, 2C, S, S), and only the
        mean is guided.

        Args:
            embeddings: Class embeddings (N, D) of uncond; with a reference of image; of cond; see `guided_prediction`.
            reference: (N, C, S, S) in [-1, 1].
        """
        alpha_bar = self._alpha_bar(t)
        sigma = math.sqrt((1 - alpha_bar) / alpha_bar) if alpha_bar else math.inf
        passes = guidance.passes(sigma / self.scaling_factor, reference is not None)
        samples, arguments = sample.to(self.unet.dtype).repeat(passes, 1, 1, 1), {}
        if reference is not None:
            given = reference.to(samples)
            none = torch.zeros_like(given)
            arguments["reference"] = torch.cat([*[none] * (passes - 2), *[given] * min(passes, 2)])
        labels = torch.cat(embeddings[-passes:])
        prediction = self.unet(samples, t, class_labels=labels, return_dict=False, **arguments)[0].float()
        if passes == 1:
            return prediction
        mean, variance = prediction.tensor_split([sample.shape[1]], dim=1)
        predictions = mean.chunk(passes)
        scales = (mean.new_tensor(each).view(-1, 1, 1, 1) for each in (guidance.scales, guidance.image_scales))
        mean, cond = guided_prediction(predictions, *scales), predictions[-1]
        if guidance.rescale:
            contrast = cond.std(dim=(1, 2, 3), keepdim=True) / mean.std(dim=(1, 2, 3), keepdim=True)
            mean = torch.lerp(mean, mean * contrast, guidance.rescale)
        return torch.cat([mean, variance.chunk(passes)[-1]], dim=1)

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
        """Samples (N, C, S, S) as "pil", "np" or "pt", see `__call__`; values out of range are clipped."""
        images = latents.float().cpu() / self.scaling_factor
        if output_type == "pil":
            images = _with_binary_alpha(images)
        return VaeImageProcessor().postprocess(images, output_type)


def _with_binary_alpha(images: Tensor) -> Tensor:
    """RGBA images (N, 4, S, S) about [-1, 1] with an alpha of -1 or 1, white where it is -1; RGB ones unchanged."""
    if images.shape[1] != 4:
        return images
    opaque = images[:, 3:] > 0
    return torch.cat([torch.where(opaque, images[:, :3], 1.0), torch.where(opaque, 1.0, -1.0)], dim=1)


def _split_conditions(conditions: PokemonType | Mapping[str, Any]) -> tuple[PokemonType, dict[str, Any]]:
    """The type and the attributes of a mapping of conditions, or of a type; a mapping to numbers is a blend."""
    attributes = dict(conditions) if isinstance(conditions, Mapping) else {}
    for name in ("pokemon_type", "class_labels"):
        if name in attributes:
            return attributes.pop(name), attributes
    is_type = all(isinstance(value, Real) and not isinstance(value, bool) for value in attributes.values())
    return (conditions, {}) if is_type else (None, attributes)


def _square(image: Any, argument: str, channels: int, side: int) -> np.ndarray:
    """An image to vary, uint8 (side, side, channels): as it is if it has this format, otherwise fitted into it."""
    if not isinstance(image, Image.Image):
        raise ValueError(f"{argument} must be an image, a list of images or a tensor, but is {image!r}.")
    _check_mode(argument, image)
    if image.size == (side, side) and image.mode == ("RGBA" if channels == 4 else "RGB"):
        return np.array(image)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if channels == 4:
        return _sprite(image, argument, channels, side)
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    return np.array(on_white.resize((side, side), Image.Resampling.LANCZOS))  # as `VaeImageProcessor` does


def _sprite(image: Any, argument: str, channels: int, side: int) -> np.ndarray:
    """A sprite, uint8 (side, side, channels) with 4 channels, as the training has it; an alpha is kept."""
    if not isinstance(image, Image.Image) or image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"{argument} must be an RGB or RGBA image, a list of these or a tensor, but is {image!r}.")
    pixels = transparent(np.array(image)) if image.mode == "RGB" else binary_alpha(np.array(image))
    if not pixels[..., 3].any():
        raise ValueError(f"{argument} shows nothing: {image!r} is empty or white.")
    return fit_square(pixels, side, margin=0 if side >= 64 else 1)


def _is_number(value: Any, low: float, high: float, kind: type = Real) -> bool:
    """Whether a value is a number from `low` to `high`; bool and NaN are not, 0-dimensional tensors are."""
    value = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
    return isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high


def _one_each(name: str, value: Any, count: int, kinds: Any = list, entry: str = "an image") -> list:
    """An argument's value for each image: those of a list, which must be as many, or the same one for all."""
    values = list(value) if isinstance(value, kinds) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} must have one entry {entry}, {count}, but has {len(values)}.")
    return values


def _replaced_latents(returned: Any, latents: Tensor) -> Tensor:
    """The latents (N, C, S, S) that a callback returned, or those until now."""
    if not isinstance(returned, (Mapping, type(None))):
        raise ValueError(f"callback_on_step_end must return a mapping of tensors or None, not {returned!r}.")
    if returned is None or "latents" not in returned:
        return latents
    _check_tensor("latents of callback_on_step_end", returned["latents"], [tuple(latents.shape)])
    return returned["latents"].to(latents)


def _check_count(name: str, value: Any, low: int = 1) -> None:
    if not _is_number(value, low, MAX_IMAGES, Integral):
        raise ValueError(f"{name} must be an integer from {low} to {MAX_IMAGES:,}, but is {value!r}.")


def _check_mode(name: str, image: Image.Image) -> None:
    if image.mode[0] in "FI":  # conversion would clip their values
        raise ValueError(f"{name} has mode {image.mode}; convert it to one of 8 bits a channel, such as RGB.")


def _check_scales(name: str, scales: list) -> None:
    for given in scales:
        if not _is_number(given, -MAX_SCALE, MAX_SCALE):
            raise ValueError(f"{name} must be a number from -{MAX_SCALE} to {MAX_SCALE} or a list, not {given!r}.")


def _check_generators(generator: Any, count: int) -> None:
    generators = _one_each("generator", generator, count)
    if generator is not None and not all(isinstance(each, torch.Generator) for each in generators):
        raise ValueError(f"generator must be a torch.Generator, or a list of one an image, but is {generator!r}.")


def _check_tensor(name: str, tensor: Any, shapes: list[tuple[int, ...]], low: float | None = None) -> None:
    """Raises ValueError unless it is a finite tensor of one of the shapes, with values in [low, 1] if low is given."""
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) not in shapes:
        given = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} must be a tensor of shape {shapes[0]}, but is {given}.")
    if not (tensor.is_floating_point() or (low == 0 and not tensor.is_complex())):  # a mask may be of integers
        raise ValueError(f"{name} must be a tensor of floating-point numbers, but is {tensor.dtype}.")
    if not torch.isfinite(tensor).all() or (low is not None and not ((tensor >= low) & (tensor <= 1)).all()):
        raise ValueError(f"{name} must have finite values" + ("." if low is None else f" in [{low}, 1]."))
