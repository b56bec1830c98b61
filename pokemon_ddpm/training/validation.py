"""What a run measures of its averaged weights: the denoising loss, and KID and condition accuracy of samples.

Images, noise and timesteps are the same at each measurement and in each run, so results can be compared.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.evaluation.memorization import nearest_by_pixels
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.preprocessing import on_white, over_white
from pokemon_ddpm.training.batches import VALIDATION, Batch, ReferencePairs, generator_for
from pokemon_ddpm.training.config import MIN_EVAL_IMAGES, TrainingConfig

TIMESTEPS_PER_IMAGE = 2
CHUNK = 64
NUM_COPY_SAMPLES, NEAR = 32, 0.5


class LossProbe:
    """The denoising loss of `count` fixed images with fixed noise and evenly spread timesteps, without any dropout.

    With `pairs`, the images have fixed reference sprites, and those are left out for which there is none.
    """

    def __init__(self, data: SpriteTensors, count: int, num_train_timesteps: int, pairs: ReferencePairs | None = None):
        device = data.images.device
        generator = generator_for("cpu", VALIDATION)
        chosen = torch.randperm(len(data), generator=generator)[:count].repeat(TIMESTEPS_PER_IMAGE).to(device)
        self.data, self.reference = data.rows(chosen), None
        if pairs is not None:
            chosen, number, relation = pairs.sample(chosen, generator)
            found = number >= 0
            self.data = data.rows(chosen[found])
            self.data.labels["relation"] = relation[found]
            self.reference = data.images[number[found]].float() / 127.5 - 1
        self.timesteps = sample_timesteps(len(self.data), num_train_timesteps, generator, stratified=True).to(device)

    def measure(
        self, losses: Callable[[nn.Module, Batch], torch.Tensor], denoiser: nn.Module, accelerator: Accelerator
    ) -> float:
        """Mean of the `losses` (B,) of all images, which the processes divide among them."""
        device = self.timesteps.device
        total = torch.zeros((), device=device)
        for start in range(0, len(self.data), CHUNK)[accelerator.process_index :: accelerator.num_processes]:
            rows = slice(start, start + CHUNK)
            part = self.data.rows(rows)
            noise = torch.randn(part.images.shape, generator=generator_for("cpu", VALIDATION, start)).to(device)
            reference = None if self.reference is None else self.reference[rows]
            batch = Batch(part.images, part.labels, self.timesteps[rows], noise, reference=reference)
            with torch.no_grad(), accelerator.autocast():
                total += losses(denoiser, batch).sum()
        return accelerator.reduce(total, "sum").item() / len(self.data)


def loss_probes(
    train: SpriteTensors, held_out: SpriteTensors, num_train_timesteps: int, pairs: ReferencePairs | None = None
) -> dict[str, LossProbe]:
    """Probes of all held-out images and of as many training images, by the name of the metric.

    Where the training loss falls and the validation loss does not, the network memorizes its training images. With
    `pairs` of the held-out images there is one with references, too.
    """
    splits = {"validation_loss": held_out, "train_split_loss": train}
    probes = {name: LossProbe(split, len(held_out), num_train_timesteps) for name, split in splits.items()}
    if pairs is not None:
        probes["validation_reference_loss"] = LossProbe(held_out, len(held_out), num_train_timesteps, pairs)
    return probes


def overfitting(
    pipeline: PokemonDDPMPipeline, train: SpriteTensors, held_out: SpriteTensors, metrics: Mapping[str, float]
) -> str:
    """The losses of `metrics`, and how many of `NUM_COPY_SAMPLES` samples are near a training image, in one line."""
    types = pipeline.conditioner.vocabulary["type"]
    requests = [SpriteRequest(seed, types[seed % len(types)]) for seed in range(NUM_COPY_SAMPLES)]
    pipeline.set_progress_bar_config(disable=True)
    samples = torch.from_numpy(np.stack(list(map(on_white, generate(pipeline, requests))))).permute(0, 3, 1, 2)
    images, held_out = over_white(train.images), over_white(held_out.images.cpu())
    usual = nearest_by_pixels(held_out, images).distance.median().item()
    near = int((nearest_by_pixels(samples, images).distance <= NEAR * usual).sum())
    return (
        f"Validation loss {metrics['validation_loss']:.4f}, of training images {metrics['train_split_loss']:.4f}. Of "
        f"{len(samples)} samples {near} are near a training image: at most half as far from it as held-out images "
        "usually are."
    )


class SampleEvaluation:
    """KID and condition accuracy of samples with the conditions of held-out images.

    Raises:
        ValueError: If the images are too few or too small.
    """

    def __init__(self, config: TrainingConfig, held_out: SpriteTensors, conditioner: SpriteConditioner):
        # The packages of the evaluation are imported only where they are needed.
        from pokemon_ddpm.evaluation.features import RESOLUTION, load_features
        from pokemon_ddpm.evaluation.samples import sample_requests

        if config.resolution < RESOLUTION:
            raise ValueError(f"--eval_steps needs --resolution {RESOLUTION} or more, but it is {config.resolution}.")
        if len(held_out) < MIN_EVAL_IMAGES:
            raise ValueError(f"--eval_steps needs {MIN_EVAL_IMAGES} held-out images, but there are {len(held_out)}.")
        self._network, self._types = load_features(), held_out.type_names
        self._held_out = over_white(held_out.images.cpu())
        self._requests = sample_requests(held_out, conditioner, config.num_eval_images)

    def measure(self, pipeline: PokemonDDPMPipeline) -> dict[str, float]:
        """Metrics of samples generated with the pipeline's defaults.

        Returns:
            "kid" to the held-out images and "kid_standard_error"; for the sprites' types also "condition_accuracy",
            the share of samples in which all given types are recognized.
        """
        from pokemon_ddpm.evaluation.condition_accuracy import condition_accuracy, given_values
        from pokemon_ddpm.evaluation.features import extract_features, predict
        from pokemon_ddpm.evaluation.metrics import kid
        from pokemon_ddpm.images import as_tensor

        pipeline.set_progress_bar_config(disable=True)
        images = as_tensor(map(on_white, generate(pipeline, self._requests)))
        features = [extract_features(self._network, each) for each in (images, self._held_out)]
        estimate = kid(*features)
        metrics = {"kid": estimate.value, "kid_standard_error": estimate.standard_error}
        if self._types == self._network.vocabulary["type"]:
            given = given_values([request.condition for request in self._requests], {"type": self._types})["type"]
            accuracy = condition_accuracy(self._types, predict(self._network, images)["type"], given)["accuracy"]
            metrics["condition_accuracy"] = accuracy.value
        return metrics
