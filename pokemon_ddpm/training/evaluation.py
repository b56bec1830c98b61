"""KID and obedience of a run's weights, as `pokemon_ddpm.evaluation.quick` measures them.

That needs packages which training does without, so it is imported only where something is measured.
"""

from typing import TYPE_CHECKING

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.packages import check_packages
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.config_checks import LEAST_EVAL_IMAGES

if TYPE_CHECKING:
    from pokemon_ddpm.evaluation.quick import QuickEvaluation


def check_evaluation(resolution: int) -> None:
    """Refuses what cannot be measured, before anything slow starts.

    Args:
        resolution: Of the pictures.

    Raises:
        ValueError: If a package is missing, or the pictures are too small for the network that looks at them.
    """
    check_packages()
    from pokemon_ddpm.evaluation.features import RESOLUTION

    if resolution < RESOLUTION:
        raise ValueError(
            f"KID and obedience need pictures of {RESOLUTION} pixels or more, which the network that looks at them "
            f"takes, but --resolution is {resolution}."
        )


def make_evaluation(
    config: TrainingConfig, held_out: SpriteTensors, conditioner: SpriteConditioner
) -> "QuickEvaluation":
    """What measures a run's weights, in the same way whatever the run's seed.

    Args:
        config: The run's.
        held_out: Its validation split.
        conditioner: Its model's. Obedience is measured where its classes are the sprites' types, which the network
            that comes with the project can tell; of other classes KID alone.

    Raises:
        ValueError: If there are too few held-out pictures.
    """
    if len(held_out) < LEAST_EVAL_IMAGES:
        raise ValueError(f"KID needs {LEAST_EVAL_IMAGES} held-out pictures, but the data have {len(held_out)}.")
    from pokemon_ddpm.evaluation.features import SpriteClassifier, SpriteFeatureExtractor, load_features
    from pokemon_ddpm.evaluation.quick import QuickEvaluation

    network = load_features()
    classifier = SpriteClassifier(network) if network.words["type"] == held_out.type_names else None
    extractor = SpriteFeatureExtractor(network)
    return QuickEvaluation(held_out, conditioner, config.num_eval_images, extractor, classifier)
