"""`PokemonDDPMPipeline`: new sprites of a chosen kind, used as any diffusers pipeline is used."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin, UNet2DModel
from PIL import Image

# Of a saved folder, diffusers takes the files that this one imports, and not what those import: so it imports all.
from .cards import CARD_FILE  # noqa: F401
from .compatibility import check_scheduler, check_student, check_trained
from .editing import Original, as_mask, as_samples, skip_steps, slerp
from .guidance import Guidance
from .inputs import (
    Callback,
    check_callback,
    check_generators,
    check_guidance,
    check_names,
    check_output_type,
    check_pictures,
    check_tensor,
    check_whole,
    guidance_scales,
    is_number,
    one_each,
)
from .pushing import push_folder  # noqa: F401
from .sampling import alpha_bar_at, image_generators, predicted_clean, set_timesteps, step
from .saving import SIBLINGS  # noqa: F401
from .storage import SelfContained

PokemonType = str | int | tuple | Mapping | None
Word = str | bool | None


class PokemonDDPMPipeline(SelfContained, DiffusionPipeline):
    """Draws sprites with a class-conditional DDPM (Ho et al. 2020) and classifier-free guidance (Ho & Salimans 2022).

    Args:
        unet: `UNet2DModel` with `class_embed_type="identity"`.
        conditioner: `SpriteConditioner`; makes the network's class embedding from words.
        scheduler: Any discrete-time scheduler of diffusers that fits the network's `prediction_type`; those that
            `pokemon_ddpm.schedulers` names are tested.
        num_inference_steps: What a call does if it is not told otherwise; saved with the model.
        guidance_scale: Likewise.
    """

    model_cpu_offload_seq = "conditioner->unet"

    def __init__(
        self,
        unet: UNet2DModel,
        conditioner: torch.nn.Module,
        scheduler: SchedulerMixin,
        num_inference_steps: int = 50,
        guidance_scale: float = 2.0,
    ):
        super().__init__()
        self.register_modules(unet=unet, conditioner=conditioner, scheduler=scheduler)
        self.register_to_config(num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
        self._interrupt = False
        self._trained_with = scheduler

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
        image: Image.Image | list[Image.Image] | torch.Tensor | None = None,
        mask_image: Image.Image | torch.Tensor | None = None,
        strength: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        class_embeddings: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        **attributes: Word | list[Word],
    ) -> ImagePipelineOutput | tuple:
        r"""Draws sprites.

        Every condition can be left out. Those that the model was not trained on are refused by name;
        `pipeline.conditioner.vocabulary` lists what it knows.

        Args:
            pokemon_type: "fire" (one of its types is fire), "fire/flying" or a pair ("fire", "flying") (both),
                "fire/none" (purely fire), an id, or None (unconditional); or a blend of these,
                {"fire": 0.7, "water": 0.3}. A list holds one entry an image; only a tuple or a slash makes a pair.
            num_images_per_type: Images for each entry; those of one entry follow each other.
            num_inference_steps: Denoising steps, from 1 to the number of training steps; the model's own if not given.
            guidance_scale: s in uncond + s * (cond - uncond), a number or a list of one an image; the model's own if
                not given. 1 is the conditional model itself, at half the cost.
            guidance_interval: Noise levels between which there is guidance (Kynkäänniemi et al. 2024), see
                `Guidance.interval`.
            guidance_rescale: From 0 to 1 (Lin et al. 2023), see `Guidance.rescale`.
            negative_pokemon_type: What to lead away from, in place of the unconditional model.
            image: Sprites to vary, of the model's size: a picture, a list of one an image, or a tensor (N, C, S, S)
                in [-1, 1].
            mask_image: Which part of `image` to repaint: a picture of its size, white where it may change; or a
                tensor (1, 1, S, S).
            strength: How much of the way the sprites are taken back to noise, above 0 and at most 1; 0.6 if not given,
                with a mask 1.
            generator: One `torch.Generator` for each image, or a single one: freshly seeded with s it gives image i
                the picture of seed s + i, whatever the size of the batch; used again it goes on to new pictures.
                Its noise is drawn on the CPU, that of a list on the list's devices. In fp32, the same picture from
                batches of different sizes agrees within one grey level.
            latents: Noise to start from, (N, C, S, S), instead of drawing it.
            class_embeddings: (N, D) from `conditioner.encode`, in place of all conditions.
            output_type: "pil" (images), "np" (float32 (N, S, S, C) in [0, 1]), "pt" (float32 (N, C, S, S) in [0, 1])
                or "latent" (the final sample, (N, C, S, S), about [-1, 1]).
            return_dict: Whether to return an `ImagePipelineOutput` and not a tuple.
            callback_on_step_end: Called after each step as callback(pipeline, step_index, timestep, tensors); what it
                returns under "latents" replaces the latents. It may set `pipeline._interrupt` to end the call after
                the step, with the pictures as they are.
            callback_on_step_end_tensor_inputs: Names of the tensors the callback is given: "latents" and
                "pred_original_sample", the clean sprites (N, C, S, S) that the network expects at this step.
            **attributes: What else the model knows, by name: a word, a list of one for each entry of `pokemon_type`,
                or None for any. Of models trained on the sprites: `color` ("red"), `shape` ("wings"), `game` (whose
                drawing style it has, "gen5"), `view` ("front", "back"), `finish` ("normal", "shiny"), `size` ("tiny",
                "small", "medium", "large", "huge", by the height of the Pokémon), `form` ("mega"), and `legendary`
                (True or False, or "yes" or "no").

        Returns:
            `ImagePipelineOutput` with `images`, or a tuple with them.

        Raises:
            ValueError: If a value is out of its range; nothing has been computed by then.
            TypeError: If `pokemon_type` holds something that is no type, or an argument is misspelt.
        """
        check_names(attributes, self.conditioner.vocabulary, inspect.signature(self.__call__).parameters)
        requests = pokemon_type if isinstance(pokemon_type, list) else [pokemon_type]
        words = {name: word for name, word in attributes.items() if word is not None}
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        if strength is not None and image is None:
            raise ValueError("strength says how far image is taken back to noise; give image as well.")
        strength = strength if strength is not None else 0.6 if mask_image is None else 1.0
        tensor_inputs = callback_on_step_end_tensor_inputs
        tensor_inputs = ["latents"] if tensor_inputs is None else tensor_inputs
        check_scheduler(self.scheduler, self.unet.config.out_channels > self.unet.config.in_channels)
        check_trained(self.scheduler, self._trained_with)
        check_whole("num_inference_steps", steps, 1, self.scheduler.config.num_train_timesteps)
        check_student(self.scheduler, self._trained_with, steps, self.config.num_inference_steps)
        check_whole("num_images_per_type", num_images_per_type, 1)
        check_output_type(output_type)
        check_callback(callback_on_step_end, tensor_inputs)
        check_guidance(guidance_interval, guidance_rescale)
        embeddings = self._class_embeddings(requests, words, class_embeddings, num_images_per_type)
        count = len(embeddings)
        guidance = Guidance(guidance_scales(scale, count), tuple(guidance_interval), guidance_rescale)
        against = self._negative_embeddings(negative_pokemon_type, count)
        check_generators(generator, count)
        if latents is not None:
            check_tensor("latents", latents, (count, *self.sample_shape))
        pictures = check_pictures(image, mask_image, strength, count, self.sample_shape)

        timesteps = set_timesteps(self.scheduler, steps, self._execution_device)
        generators = image_generators(generator, count)
        noise = self.prepare_latents(generators, latents)
        original = None
        if pictures is not None:
            timesteps = skip_steps(self.scheduler, strength)
            mask = None if mask_image is None else as_mask(mask_image).to(noise.device)
            original = Original(as_samples(pictures).to(noise), noise, mask)
            latents = original.noisy(self.scheduler, timesteps[0])
        else:
            latents = noise * self.scheduler.init_noise_sigma
        if torch.equal(against, embeddings):
            guidance = Guidance((1.0,) * count)  # there is nothing to lead away from
        latents = self._denoise(
            latents,
            timesteps,
            (against, embeddings),
            guidance,
            generators,
            original,
            callback_on_step_end,
            tensor_inputs,
        )
        images = latents if output_type == "latent" else self.postprocess(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def interpolate(
        self,
        a: PokemonType | Mapping[str, Any],
        b: PokemonType | Mapping[str, Any],
        steps: int,
        generator: list[torch.Generator] | torch.Generator | None = None,
        **arguments: Any,
    ) -> ImagePipelineOutput | tuple:
        """Draws the way from one sprite to another, between their conditions and between their noises.

        Conditions are interpolated linearly, as embeddings, noises spherically. With a scheduler that adds noise on
        the way, all sprites are given the same.

        Args:
            a: The first sprite's type, or all that is asked of it: {"pokemon_type": "fire", "color": "red"}.
            b: The last one's.
            steps: How many sprites to draw, from 2.
            generator: Two, of the noises at the ends; a single one, freshly seeded with s, means seeds s and s + 1.
            **arguments: Further arguments of `__call__`.

        Raises:
            ValueError, TypeError: As `__call__`.
        """
        check_whole("steps", steps, 2)
        others = inspect.signature(self.__call__).parameters.keys() - {"pokemon_type", "class_embeddings", "latents"}
        given = sorted(arguments.keys() - others)
        if given:
            raise ValueError(
                f"interpolate takes what is asked for in a and b, for example a={{'pokemon_type': 'fire', 'color': "
                f"'red'}}, and not as {', '.join(given)}."
            )
        if isinstance(a, list) or isinstance(b, list):
            raise ValueError("interpolate goes from one sprite to another; a and b cannot be lists.")
        ends = [self._encode_all(asked) for asked in (a, b)]
        check_generators(generator, 2)
        one, other = image_generators(generator, 2)
        noises = self.prepare_latents([one, other])
        shares = [i / (steps - 1) for i in range(steps)]
        on_the_way = one.get_state()
        generators = [torch.Generator(one.device) for _ in shares]
        for each in generators:
            each.set_state(on_the_way)
        return self(
            class_embeddings=torch.cat([torch.lerp(*ends, share) for share in shares]),
            latents=torch.stack([slerp(*noises, share) for share in shares]),
            generator=generators,
            **arguments,
        )

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of one sample."""
        size = self.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.unet.config.in_channels, height, width

    def _encode_all(self, asked: PokemonType | Mapping[str, Any]) -> torch.Tensor:
        """(1, D) of a type, or of a mapping of `__call__`'s conditions."""
        is_mapping = isinstance(asked, Mapping)
        # A blend of types is a mapping as well, but to numbers.
        says_more = is_mapping and ("pokemon_type" in asked or not all(is_number(word) for word in asked.values()))
        words = dict(asked) if says_more else {"pokemon_type": asked}
        pokemon_type = words.pop("pokemon_type", None)
        return self.conditioner.encode([pokemon_type], **{name: [word] for name, word in words.items()})

    def _class_embeddings(
        self, requests: list, words: dict[str, Any], given: torch.Tensor | None, each: int
    ) -> torch.Tensor:
        """(N, D) of what is asked for, or those given."""
        if given is not None:
            if words or requests != [None]:
                raise ValueError("class_embeddings stand in place of pokemon_type and all other conditions.")
            width = self.unet.time_embedding.linear_2.out_features
            count = max(1, len(given)) if isinstance(given, torch.Tensor) and given.ndim else 1
            check_tensor("class_embeddings", given, (count, width))
            return given.to(self._execution_device).repeat_interleave(each, dim=0)
        if not requests:
            raise ValueError("pokemon_type is an empty list; give at least one type, or None for any.")
        words = {name: one_each(name, word, len(requests)) for name, word in words.items()}
        return self.conditioner.encode(requests, **words).repeat_interleave(each, dim=0)

    def _negative_embeddings(self, negative: PokemonType | list[PokemonType], count: int) -> torch.Tensor:
        """(N, D) of what guidance leads away from."""
        requests = negative if isinstance(negative, list) else [negative]
        if len(requests) not in (1, count):
            raise ValueError(f"A list of negative_pokemon_type must have one an image, {count}, not {len(requests)}.")
        return self.conditioner.encode(requests).expand(count, -1)

    def prepare_latents(self, generators: list[torch.Generator], latents: torch.Tensor | None = None) -> torch.Tensor:
        """Unit Gaussian noise to start from, float32 (N, C, S, S), on the device; that given, or drawn."""
        if latents is None:
            noise = [torch.randn(self.sample_shape, generator=g, device=g.device).cpu() for g in generators]
            latents = torch.stack(noise)
        # float32 whatever the network computes in: a seed means the same noise for every dtype, and a scheduler's
        # many small steps would be lost in the rounding of anything shorter.
        return latents.to(self._execution_device, torch.float32)

    def _denoise(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        embeddings: tuple[torch.Tensor, torch.Tensor],
        guidance: Guidance,
        generators: list[torch.Generator],
        original: Original | None,
        callback: Callback | None,
        tensor_inputs: list[str],
    ) -> torch.Tensor:
        """The reverse process over the timesteps, (N, C, S, S)."""
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        extra = {"generator": generators} if takes_generator else {}
        self._interrupt = False
        with self.progress_bar(total=len(timesteps)) as progress_bar:
            for i, t in enumerate(timesteps):
                sample = self.scheduler.scale_model_input(latents, t)
                prediction = self.guided_prediction(sample, t, embeddings, guidance)
                latents = step(self.scheduler, prediction, t, latents, **extra)
                if original is not None:
                    following = timesteps[i + 1] if i + 1 < len(timesteps) else None
                    latents = original.keep(latents, self.scheduler, following)
                if callback is not None:
                    tensors = {"latents": latents}
                    if "pred_original_sample" in tensor_inputs:
                        tensors["pred_original_sample"] = predicted_clean(self.scheduler, prediction, t, sample)
                    given = {name: tensors[name] for name in tensor_inputs}
                    latents = (callback(self, i, t, given) or {}).get("latents", latents)
                progress_bar.update()
                if self._interrupt:
                    break
        return latents

    def guided_prediction(
        self,
        sample: torch.Tensor,
        t: torch.Tensor,
        embeddings: tuple[torch.Tensor, torch.Tensor],
        guidance: Guidance,
    ) -> torch.Tensor:
        """The network's prediction, float32, for a sample (N, C, S, S) at timestep t, guided where that applies.

        Args:
            sample: Scaled as the network takes it.
            t: The timestep.
            embeddings: Of what to lead away from and of what is asked for, (N, D) each.
            guidance: How.
        """
        against, asked = embeddings
        alpha_bar = alpha_bar_at(self.scheduler, t)
        sigma = math.sqrt((1 - alpha_bar) / alpha_bar) if alpha_bar else math.inf
        sample = sample.to(self.unet.dtype)
        if not guidance.applies(sigma):
            return self.unet(sample, t, class_labels=asked, return_dict=False)[0].float()
        both = torch.cat([against, asked])
        prediction = self.unet(torch.cat([sample, sample]), t, class_labels=both, return_dict=False)[0].float()
        return guidance.combine(*prediction.chunk(2), channels=sample.shape[1])

    def postprocess(self, latents: torch.Tensor, output_type: str) -> Any:
        """From samples (N, C, S, S) in about [-1, 1] to the output type; out-of-range values are clipped."""
        images = (latents.float() / 2 + 0.5).clamp(0, 1).cpu()
        if output_type == "pt":
            return images
        arrays = images.permute(0, 2, 3, 1).numpy()
        if output_type == "np":
            return arrays
        return [Image.fromarray(pixels) for pixels in (arrays * 255).round().astype("uint8")]
