"""What a run measures of its averaged weights: the denoising loss, and KID and condition accuracy of samples.

Images, noise and timesteps are the same at each measurement and in each run, so results can be compared.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.evaluation import check_packages
from pokemon_ddpm.generation import generate, stop_if
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.training.batches import VALIDATION, Batch, generator_for
from pokemon_ddpm.training.config import MIN_EVAL_IMAGES, TrainingConfig

if TYPE_CHECKING:
    from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline

TIMESTEPS_PER_IMAGE = 2
CHUNK = 64


class LossProbe:
    """The denoising loss of fixed images with fixed noise and fixed, evenly spread timesteps.

    There is no condition dropout, augmentation or network dropout.

    Args:
        data: A split, on the device, with labels for the conditioner's attributes.
        count: Number of images, a fixed subset.
        num_train_timesteps: T.
    """

    def __init__(self, data: SpriteTensors, count: int, num_train_timesteps: int):
        device = data.images.device
        generator = generator_for("cpu", VALIDATION)
        chosen = torch.randperm(len(data), generator=generator)[:count].repeat(TIMESTEPS_PER_IMAGE).to(device)
        self.images = data.images[chosen]
        self.labels = {attribute: ids[chosen] for attribute, ids in data.labels.items()}
        self.timesteps = sample_timesteps(len(chosen), num_train_timesteps, generator, stratified=True).to(device)

    def measure(
        self,
        losses: Callable[[nn.Module, Batch], torch.Tensor],
        denoiser: nn.Module,
        accelerator: Accelerator,
        interrupted: Callable[[], bool],
    ) -> float:
        """Mean loss over the images, which the processes divide among them; NaN if it was interrupted.

        Args:
            losses: Loss of each image of a batch.
            denoiser: In evaluation mode.
            accelerator: Of this process.
            interrupted: Called between chunks.
        """
        total = torch.zeros((), device=self.images.device)
        starts = range(0, len(self.images), CHUNK)[accelerator.process_index :: accelerator.num_processes]
        for start in starts:
            if interrupted():
                total += math.nan
                break
            part = slice(start, start + CHUNK)
            images = self.images[part]
            noise = torch.randn(images.shape, generator=generator_for("cpu", VALIDATION, start)).to(images.device)
            labels = {attribute: ids[part] for attribute, ids in self.labels.items()}
            with torch.no_grad(), accelerator.autocast():
                total += losses(denoiser, Batch(images, labels, self.timesteps[part], noise)).sum()
        return accelerator.reduce(total, "sum").item() / len(self.images)


def loss_probes(train: SpriteTensors, held_out: SpriteTensors, num_train_timesteps: int) -> dict[str, LossProbe]:
    """Probes of all held-out images and of as many training images, by the name of the metric.

    Where the training loss falls and the validation loss does not, the network memorizes its training images.
    """
    splits = {"validation_loss": held_out, "train_split_loss": train}
    return {name: LossProbe(split, len(held_out), num_train_timesteps) for name, split in splits.items()}


def check_sample_evaluation(config: TrainingConfig) -> None:
    """Raises ValueError if --eval_steps cannot work: a package is missing, or the resolution is too small."""
    check_packages()
    from pokemon_ddpm.evaluation.features import RESOLUTION

    if config.resolution < RESOLUTION:
        raise ValueError(f"--eval_steps needs a --resolution of at least {RESOLUTION}, but it is {config.resolution}.")


class SampleEvaluation:
    """KID and condition accuracy of samples with the conditions of held-out images.

    Args:
        config: The run's.
        held_out: The validation split.
        conditioner: The model's.

    Raises:
        ValueError: If there are too few held-out images.
    """

    def __init__(self, config: TrainingConfig, held_out: SpriteTensors, conditioner: SpriteConditioner):
        # The packages of the evaluation are imported only where they are needed.
        from pokemon_ddpm.evaluation.features import load_features
        from pokemon_ddpm.evaluation.samples import sample_requests

        if len(held_out) < MIN_EVAL_IMAGES:
            raise ValueError(
                f"--eval_steps needs {MIN_EVAL_IMAGES} held-out images, but the data have {len(held_out)}."
            )
        self._network = load_features()
        # It recognizes the sprites' types only.
        self._recognizes_types = self._network.vocabulary["type"] == held_out.type_names
        self._held_out = held_out.images.cpu()
        self._type_names = held_out.type_names
        self._requests = sample_requests(held_out, conditioner, config.num_eval_images)

    def measure(self, pipeline: "PokemonDDPMPipeline", interrupted: Callable[[], bool]) -> dict[str, float]:
        """Metrics of samples generated with the pipeline's defaults.

        Returns:
            "kid" to the held-out images and "kid_standard_error"; for the sprites' types also "condition_accuracy",
            the share of samples in which all given types are recognized.

        Raises:
            Interrupted: If `interrupted` became true.
        """
        from pokemon_ddpm.evaluation.condition_accuracy import condition_accuracy, given_values
        from pokemon_ddpm.evaluation.features import extract_features, predict
        from pokemon_ddpm.evaluation.metrics import kid

        pipeline.set_progress_bar_config(disable=True)
        samples = generate(pipeline, self._requests, callback_on_step_end=stop_if(interrupted))
        images = torch.from_numpy(np.stack([np.asarray(image) for image in samples]).transpose(0, 3, 1, 2).copy())
        features = [extract_features(self._network, each) for each in (images, self._held_out)]
        estimate = kid(*features)
        metrics = {"kid": estimate.value, "kid_standard_error": estimate.standard_error}
        if self._recognizes_types:
            types = self._type_names
            given = given_values([request.condition for request in self._requests], {"type": types})["type"]
            accuracy = condition_accuracy(types, predict(self._network, images)["type"], given)["accuracy"]
            metrics["condition_accuracy"] = accuracy.value
        return metrics
