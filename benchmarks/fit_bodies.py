"""Fits the probe of bodies to the annotations, and measures it on held-out evolution lines.

    python benchmarks/fit_bodies.py --data_dir path/to/pokemon-sprites

The probe is a linear classifier of kinds of body on the features of the released ranker; `pokemon-ddpm evaluate` uses
it. It is written beside the ranker, and is fitted again when its network is released anew.
"""

import argparse
from pathlib import Path

import pandas
import torch
from safetensors.torch import save_file

from pokemon_ddpm import RELEASED_FAST_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.data import sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.evaluation.variety import BODIES_FILE, effective_number
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.ranking import BATCH_SIZE, SpriteRanker

FOLDER = Path(__file__).parent / "annotations"
SHRINKAGE = 1.0  # added to the covariance of standardized features, of which there are many beside 318 lines


def read(name: str = "annotations") -> pandas.DataFrame:
    """A table of annotations by the path in the archive."""
    table = pandas.read_csv(FOLDER / f"{name}.csv", keep_default_na=False)
    return table.set_index("sprites/" + table.sprite.str.replace("/", "/front/normal/") + ".png")


@torch.no_grad()
def features_of(
    ranker: SpriteRanker, data_dir: str, split: str, annotations: pandas.DataFrame
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, float32 (N, F), and places of the bodies in their sorted list, int64 (N,), of the annotated fronts."""
    options = {"exclude_faulty": True, "deduplicate": True}
    rows = load_sprites(data_dir, "front", split=split, **options)
    images = sprite_tensors(rows, ranker.sample_shape[-1]).images
    features = torch.cat([ranker.features(part) for part in images.split(BATCH_SIZE)])
    return features, torch.tensor(annotations.body[rows["path"][:]].astype("category").cat.codes.to_numpy()).long()


def discriminant(features: torch.Tensor, bodies: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (K, F) and biases (K,) of a linear discriminant analysis (Fisher 1936) of features (N, F).

    All bodies are equally likely beforehand: with the shares of the training fronts it would see too many bipeds.
    """
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    scaled = (features - mean) / std
    centers = torch.stack([scaled[bodies == k].mean(dim=0) for k in range(count)])
    rest = scaled - centers[bodies]
    within = rest.T @ rest / len(rest) + SHRINKAGE * torch.eye(rest.shape[1], dtype=rest.dtype)
    weight = torch.linalg.solve(within, centers.T).T
    bias = -(weight * centers).sum(dim=1) / 2
    return weight / std, bias - weight @ (mean / std)


def main(arguments: list[str] | None = None) -> None:
    """Fits, measures and saves the probe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="the sprite archive")
    parser.add_argument("--model", default=RELEASED_FAST_MODEL, help="folder whose network sees the sprites")
    options = parser.parse_args(arguments)
    pipeline = PokemonDDPMPipeline.from_pretrained(options.model)
    annotations, second = read(), read("second")
    names = sorted({*annotations.body})
    annotations.body = pandas.Categorical(annotations.body, names)
    ranker = SpriteRanker(pipeline)
    (features, bodies), (others, expected) = (
        features_of(ranker, options.data_dir, split, annotations) for split in ("train", "validation")
    )
    probe = {name: each.half() for name, each in zip(
        ("weight", "bias"), discriminant(features.double(), bodies, len(names)), strict=True
    )}  # fmt: skip
    found = (others @ probe["weight"].float().T + probe["bias"].float()).argmax(dim=1)
    right, most = (found == expected).float().mean().item(), expected.bincount().max().item() / len(expected)
    agreed = (annotations.body[second.index].astype(str) == second.body).mean()
    print(f"{len(bodies):,} training and {len(expected):,} held-out fronts; of these the probe has {right:.0%} right;")
    print(f"{most:.0%} have the most frequent one, and two readers agree in {agreed:.0%}.")
    numbers = [effective_number(each.bincount().numpy()) for each in (expected, found)]
    print("effective number of bodies: of the reader {:.1f}, of the probe {:.1f}".format(*numbers))
    metadata = {"weights": weights_digest(pipeline.unet, pipeline.conditioner), "bodies": ",".join(names)}
    save_file(probe, Path(options.model, BODIES_FILE), metadata)


if __name__ == "__main__":
    main()
