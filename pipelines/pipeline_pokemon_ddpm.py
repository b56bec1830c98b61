"""`PokemonDDPMPipeline`: new sprites under given conditions, used as any diffusers pipeline."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, SchedulerMixin, UNet2DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput  # as type checkers see them
from PIL import Image
from torch import Tensor

from .file_checks import check_number
from .hub_mixin import HubMixin
from .sampling import (
    check_scheduler,
    check_tensor,
    image_generators,
    is_distilled,
    one_each,
    postprocess,
    predicted_original_sample,
    require,
    set_timesteps,
)
from .sprite_preprocessing import model_pixels

PokemonType = str | int | tuple[str | int, ...] | Mapping[Any, float] | None
AttributeValue = str | bool | Sequence[str] | None
Conditions = dict[str, list[AttributeValue]]  # attribute -> its value for each image
Callback = Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor] | None]

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
CALLBACK_TENSORS = ("latents", "pred_original_sample", "prompt_embeds")  # the last is diffusers' name of embeddings
DEFAULTS = {"num_inference_steps": 50, "guidance_scale": 2.0, "default_conditions": {}}  # of a call
DEFAULTS_KEY = "_defaults"  # of those of a pipeline in its conditioner's configuration; it is not saved
MAX_IMAGES, MAX_SCALE = 10_000, 1000  # images of one type in a call; a guidance scale


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
        kept |= {name: value for name, value in zip(DEFAULTS, given, strict=True) if value is not None}
        self.register_to_config(**kept)
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
        return self._guidance_scale != 1

    @property
    def guidance_scale(self) -> float:
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
        guidance_scale: float | None = None,
        image: Image.Image | list[Image.Image] | Tensor | None = None,
        strength: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        class_embeddings: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
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
            guidance_scale: By default the model's own; 1 means no guidance, at half the cost.
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
        is_one = class_labels is None or pokemon_type is None
        require(is_one, "class_labels and pokemon_type are the same argument; pass only one.")
        pokemon_type = class_labels if pokemon_type is None else pokemon_type
        names = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        self.check_inputs(steps, scale, image, strength, output_type, names)
        # 1. The conditions of each image.
        types, values = self.expand_conditions(pokemon_type, attributes, class_embeddings, num_images_per_type)
        generators = image_generators(generator, len(types))
        if class_embeddings is None:
            embeddings = self.encode_conditions(types, values, generators if image is None else ())
        else:
            embeddings = class_embeddings.to(self._execution_device).repeat_interleave(num_images_per_type, dim=0)
        kept = {name: column for name, column in values.items() if name in self.conditioner.never_dropped}
        unconditional = self.conditioner.encode([None] * len(types), **kept)
        if torch.equal(unconditional, embeddings):
            scale = 1.0  # Both predictions would be equal.

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
                prediction = self.predict(sample, t, unconditional, embeddings, scale)
                latents = self._step(prediction, t, latents, generators)
                if callback_on_step_end is not None:
                    predicted = self._original_sample(prediction, t, sample)
                    tensors = {"latents": latents, "pred_original_sample": predicted, "prompt_embeds": embeddings}
                    latents, scale = self._call_back(callback_on_step_end, i, t, tensors, names, scale)
                progress_bar.update()
                if self._interrupt:
                    break

        # 4. From samples to images.
        damaged = "the weights are damaged, or too large for their dtype"
        require(bool(latents.isfinite().all()), f"The samples are NaN or infinite: {damaged}.")
        images = latents if output_type == "latent" else self.postprocess(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

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

    def check_inputs(self, num_inference_steps, guidance_scale, image, strength, output_type, tensor_inputs) -> None:
        """Raises ValueError for what a call cannot use; see `__call__` for the arguments."""
        trained, own = self._trained_scheduler, self.config.num_inference_steps
        check_scheduler(self.scheduler, trained, self.unet.config.out_channels > self.unet.config.in_channels)
        self._check_sampling(num_inference_steps, guidance_scale)
        require(
            not is_distilled(trained) or is_distilled(self.scheduler) and num_inference_steps == own,
            f"This model was distilled to {own} steps of its own scheduler; leave out num_inference_steps and keep "
            "the scheduler, or use its teacher.",
        )
        require(image is not None or strength is None, "strength needs an image; pass image as well.")
        check_number("strength", 0 if strength is None else strength, 0, 1)
        known = ", ".join(OUTPUT_TYPES)
        require(output_type in OUTPUT_TYPES, f"output_type must be one of {known}, not {output_type!r}.")
        is_list, known = isinstance(tensor_inputs, (list, tuple)), ", ".join(CALLBACK_TENSORS)
        are_known = is_list and all(name in CALLBACK_TENSORS for name in tensor_inputs)
        require(are_known, f"callback_on_step_end_tensor_inputs must be a list of {known}, not {tensor_inputs!r}.")

    def check_defaults(self) -> None:
        """Raises some exception if the defaults of a call, or the components, do not fit each other."""
        config, width = self.config, self.unet.time_embedding.linear_2.out_features
        embeddings = self.encode_conditions(*self.expand_conditions(None, {}))
        check_tensor("the embedding of the conditioner", embeddings, (1, width))
        self._check_sampling(config.num_inference_steps, config.guidance_scale)
        # A first step of zeros, since what can be built may not run. What is a ValueError, a call says: with other
        # arguments or another scheduler it may be possible.
        sample = torch.zeros(1, *self.sample_shape)
        prediction = sample[:, :1].repeat(1, self.unet.config.out_channels, 1, 1)
        with suppress(ValueError):
            check_scheduler(self.scheduler, self._trained_scheduler, learns_variance=True)
            first, *_ = set_timesteps(self.scheduler, config.num_inference_steps, "cpu")
            self._original_sample(prediction, first, sample)
            self._step(prediction, first, sample, [torch.Generator()])

    def _check_sampling(self, num_inference_steps: int, guidance_scale: float) -> None:
        total = self.scheduler.config.num_train_timesteps
        check_number("num_inference_steps", num_inference_steps, 1, total, Integral)
        check_number("guidance_scale", guidance_scale, -MAX_SCALE, MAX_SCALE)

    def prepare_image(
        self, name: str, images: Image.Image | list[Image.Image] | Tensor, count: int, keep: bool = False
    ) -> Tensor:
        """An argument with images as float32 (N, C, S, S) in [-1, 1]; for `keep` see `model_pixels`."""
        channels, height, width = self.sample_shape
        if not isinstance(images, Tensor):
            pixels = [model_pixels(name, image, channels, height, keep) for image in one_each(name, images, count)]
            images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        check_tensor(name, images, (count, channels, height, width), in_range=True)
        return images.float().to(self._execution_device)  # float64 does not exist on every device

    def expand_conditions(
        self,
        pokemon_type: PokemonType | list[PokemonType],
        attributes: Mapping[str, AttributeValue | list[AttributeValue]],
        class_embeddings: Tensor | None = None,
        num_images_per_type: int = 1,
    ) -> tuple[list[PokemonType], Conditions]:
        """The type of each image, and attribute -> its value for each, by default the usual one; see `__call__`."""
        check_number("num_images_per_type", num_images_per_type, 1, MAX_IMAGES, Integral)
        given = {name: value for name, value in attributes.items() if value is not None}
        argument, defaults = self.conditioner.argument, {**self.config.default_conditions}
        if class_embeddings is None:
            types = pokemon_type if isinstance(pokemon_type, list) else [pokemon_type]
            require(len(types) > 0, f"{argument} is an empty list; pass at least one, or None for any.")
        else:
            is_one = pokemon_type is None and not given
            require(is_one, f"class_embeddings replaces {argument} and all other conditions; pass only one.")
            count = max(1, len(class_embeddings)) if getattr(class_embeddings, "ndim", 0) == 2 else 1
            check_tensor("class_embeddings", class_embeddings, (count, self.unet.time_embedding.linear_2.out_features))
            types, defaults = [None] * count, {}
        values = {}
        for name, value in {**defaults, **given}.items():
            is_set = name in self.conditioner.sets and isinstance(value, list)
            if is_set and all(isinstance(word, str) for word in value):
                value = tuple(value)  # one set, for all images
            for_types = one_each(name, value, len(types), entry=argument)
            used = [defaults.get(name) if own is None else own for own in for_types]
            values[name] = [own for own in used for _ in range(num_images_per_type)]
        return [kind for kind in types for _ in range(num_images_per_type)], values

    def encode_conditions(
        self, types: Sequence[PokemonType], values: Conditions, generators: Sequence[torch.Generator] = ()
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
        """The timesteps, and the sample at the first: noise, or clean images noised to a share of the timesteps."""
        timesteps = self.scheduler.timesteps
        if clean is None:
            return timesteps, noise * self.scheduler.init_noise_sigma
        start = len(timesteps) - max(1, int(len(timesteps) * strength))
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(start)
        clean = clean * self.scaling_factor
        return timesteps[start:], self.scheduler.add_noise(clean, noise, timesteps[start : start + 1])

    def _call_back(
        self, callback: Callback, i: int, t: Tensor, tensors: dict[str, Tensor], names: Sequence[str], scale: float
    ) -> tuple[Tensor, float]:
        """The sample and the guidance scale after a callback, which may return another sample and set a scale."""
        latents, before = tensors["latents"], self._guidance_scale
        changed = (callback(self, i, t, {name: tensors[name] for name in names}) or {}).get("latents", latents)
        if changed is not latents:
            self.scheduler.last_sample = None  # from which UniPC's corrector would undo the change
        if self._guidance_scale is not before:  # diffusers' own callbacks mean no guidance by a scale below 1
            check_number("guidance_scale", self._guidance_scale, -MAX_SCALE, MAX_SCALE)
            scale = max(1.0, self._guidance_scale)
        return changed.to(latents), scale

    def prepare_latents(self, generators: list[torch.Generator], latents: Tensor | None = None) -> Tensor:
        """Initial unit Gaussian noise, float32 (N, C, S, S) on the device."""
        if latents is None:
            noise = [torch.randn(self.sample_shape, generator=one, device=one.device).cpu() for one in generators]
            latents = torch.stack(noise)
        check_tensor("latents", latents, (len(generators), *self.sample_shape))
        # float32 whatever the network computes in: a seed is the same noise for every dtype, and many small steps
        # would be lost in rounding.
        return latents.to(self._execution_device, torch.float32)

    def predict(self, sample: Tensor, t: Tensor, unconditional: Tensor, embeddings: Tensor, scale: float) -> Tensor:
        """The network's prediction for a sample (N, C, S, S) at timestep t, float32, with classifier-free guidance.

        It is uncond + s (cond - uncond), equation 6 of Ho & Salimans 2022 with s = w + 1, of embeddings (N, D) without
        and with the conditions. With a learned variance it is (N, 2C, S, S), and only the mean is guided.
        """
        sample = sample.to(self.unet.dtype)
        if scale == 1:
            return self.unet(sample, t, class_labels=embeddings, return_dict=False)[0].float()
        labels = torch.cat([unconditional, embeddings])
        prediction = self.unet(sample.repeat(2, 1, 1, 1), t, class_labels=labels, return_dict=False)[0].float()
        mean, variance = prediction.tensor_split([sample.shape[1]], dim=1)
        uncond, cond = mean.chunk(2)
        guided = torch.lerp(uncond, cond, cond.new_full((len(cond), 1, 1, 1), float(scale)))
        return torch.cat([guided, variance.chunk(2)[1]], dim=1)

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

    def _original_sample(self, prediction: Tensor, t: Tensor, sample: Tensor) -> Tensor:
        alpha_bar = self.scheduler.alphas_cumprod[int(t.round())].item()  # some solvers have timesteps between two
        kind = self.scheduler.config.prediction_type
        prediction = prediction[:, : sample.shape[1]]  # without a learned variance
        return predicted_original_sample(kind, prediction, sample, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    def postprocess(self, latents: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
        """Samples (N, C, S, S) as "pil", "np" or "pt", see `__call__` and `sampling.postprocess`."""
        return postprocess(latents.float().cpu() / self.scaling_factor, output_type)
