"""The error of the predicted image by bands of timesteps, for held-out and for training fronts, in a table.

python benchmarks/loss_by_timestep.py --data_dir path/to/pokemon-sprites pokemon-ddpm-64 outputs/other

A network that generalizes has a lower error for held-out images; the distance to that of as many training images tells
what it knows by heart. Images, noise and timesteps are the same for every model; all conditions but tags are given.
"""

import argparse
import sys

import torch

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.diffusion import NoiseSchedule, sample_timesteps
from pokemon_ddpm.pipelines.sprite_conditioner import TAGS

BANDS = ((0, 300), (300, 500), (500, 700), (700, 950))
CHUNK = 64


@torch.no_grad()
def errors(pipeline: PokemonDDPMPipeline, data: SpriteTensors, band: tuple[int, int]) -> torch.Tensor:
    """The mean squared error of x_0, in units of images in [-1, 1], of each image at one timestep of a band, (N,)."""
    schedule = NoiseSchedule.of(pipeline.scheduler, scaling_factor=pipeline.scaling_factor)
    generator = torch.Generator().manual_seed(band[0])
    timesteps = band[0] + sample_timesteps(len(data), band[1] - band[0], generator)
    means = []
    for rows in torch.arange(len(data)).split(CHUNK):
        part, t = data.rows(rows), timesteps[rows]
        clean = schedule.scaling_factor * (part.images.float() / 127.5 - 1)
        noisy = schedule.add_noise(clean, torch.randn(clean.shape, generator=generator), t)
        labels = {
            name: ids for name, ids in part.labels.items() if name in pipeline.conditioner.any_ids and name != TAGS
        }
        embedding = pipeline.conditioner(labels)
        prediction = pipeline.unet(noisy, t, class_labels=embedding, return_dict=False)[0][:, : clean.shape[1]]
        error = (schedule.clean(prediction, noisy, t) - clean) / schedule.scaling_factor
        means.append(error.square().mean(dim=(1, 2, 3)))
    return torch.cat(means)


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--repeats", type=int, default=3, help="timesteps of each image in a band")
    arguments = parser.parse_args()
    splits = {}
    for split in ("validation", "train"):
        splits[split] = load_tensors(arguments.data_dir, split, 64, exclude_faulty=True, deduplicate=True)
    count = len(splits["validation"])
    chosen = torch.randperm(len(splits["train"]), generator=torch.Generator().manual_seed(0))[:count]
    splits["train"] = splits["train"].rows(chosen)
    bands = [f"{low} to {high - 1}" for low, high in BANDS]
    print(f"| held-out / training, {count} fronts each | {' | '.join(bands)} |")
    print("|---|" + "---|" * len(BANDS))
    for model in arguments.models:
        pipeline, cells = PokemonDDPMPipeline.from_pretrained(model), []
        for band in BANDS:
            means = []
            for data in splits.values():
                known = data.conditioned_on(pipeline.conditioner.any_ids).rows(
                    torch.arange(count).repeat(arguments.repeats)
                )
                means.append(float(errors(pipeline, known, band).mean()))
            cells.append("{:.4f} / {:.4f} ({:+.0%})".format(*means, means[0] / means[1] - 1))
        print(f"| {model} | {' | '.join(cells)} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
