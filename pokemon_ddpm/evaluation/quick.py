"""Two figures that are quick enough to be measured again and again while a model learns."""

from collections.abc import Callable

import numpy as np
import torch

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.distances import kid
from pokemon_ddpm.evaluation.evaluation import check_classes
from pokemon_ddpm.evaluation.obedience import asked_words
from pokemon_ddpm.evaluation.protocols import AttributeClassifier, FeatureExtractor, extract_features, predict
from pokemon_ddpm.evaluation.requests import requests_like
from pokemon_ddpm.generation import generate, giving_up
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner


class QuickEvaluation:
    """KID and obedience of few samples, which are asked for the same words, from the same noise, each time.

    Args:
        held_out: Pictures that the model was not trained on, whose words the samples are asked for.
        conditioner: The model's.
        count: Number of samples.
        extractor: The network for KID.
        classifier: The network that judges whether the types asked for are seen; None for KID alone.
        seed: Of the samples, and of KID's subsets.

    Raises:
        ValueError: If the model or the classifier knows other types than the data have.
    """

    def __init__(
        self,
        held_out: SpriteTensors,
        conditioner: SpriteConditioner,
        count: int,
        extractor: FeatureExtractor,
        classifier: AttributeClassifier | None = None,
        seed: int = 0,
    ):
        check_classes(classifier, held_out.type_names)
        self.requests = requests_like(held_out, conditioner, count, seed=seed)
        self._extractor, self._classifier, self._seed = extractor, classifier, seed
        self._reference = extract_features(extractor, held_out.images.cpu())
        conditions = [{"type": request.pokemon_type} for request in self.requests]
        self._asked = asked_words(conditions, {"type": held_out.type_names})["type"]

    def measure(
        self, pipeline: PokemonDDPMPipeline, interrupted: Callable[[], bool] = lambda: False
    ) -> dict[str, float]:
        """Draws the samples as the pipeline does by default, and measures them.

        Args:
            pipeline: The model.
            interrupted: Asked after each step.

        Returns:
            "kid" and "kid_standard_error" to the held-out pictures; and, with a classifier, "obedience": the share of
            the samples in which all types asked for are seen.

        Raises:
            Interrupted: If `interrupted` says yes.
        """

        pipeline.set_progress_bar_config(disable=True)
        drawn = generate(pipeline, self.requests, callback_on_step_end=giving_up(interrupted))
        images = torch.from_numpy(np.stack([np.asarray(image) for image in drawn]).transpose(0, 3, 1, 2).copy())
        found = kid(extract_features(self._extractor, images), self._reference, self._seed)
        metrics = {"kid": found.value, "kid_standard_error": found.standard_error}
        if self._classifier is not None:
            seen = predict(self._classifier, images)["type"]
            obeys = (seen | ~self._asked).all(dim=1)[self._asked.any(dim=1)]
            metrics["obedience"] = float(obeys.double().mean())
        return metrics
