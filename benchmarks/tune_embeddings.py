"""Fine-tunes the embeddings of a distilled model on the verdicts of its ranker; the network stays as it is.

    python benchmarks/tune_embeddings.py pokemon_ddpm/released/pokemon-ddpm-64-fast outputs/tuned
    python benchmarks/release_model.py outputs/tuned pokemon_ddpm/released/pokemon-ddpm-64-fast

The released model has been tuned already: of it, this makes another one. The ranker is differentiable, and so are four
steps: the gradient of the verdicts goes back through all of them (Clark et al. 2024, *Directly Fine-Tuning Diffusion
Models on Differentiable Rewards*). Learned are the embeddings of `TABLES`, without "back" and "any", with which the
ranker sees. By the verdicts alone all sprites would become one creature. So the colors and shapes that were drawn
have to be seen, bodies should be as different as possible, and samples of one type lose where they are alike: by the
overlap of silhouettes, and by a kernel of their features (RKE, Jalali et al. 2023).

Then the embedding of "back" is learned from the verdict on backs, sampled from mirrored fronts as in creature.py.
"""

import argparse
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.utils import tqdm
from PIL import Image
from torch import Tensor

from pokemon_ddpm import PokemonDDPMPipeline, to_sprite
from pokemon_ddpm.creature import BACK_STRENGTH, VIEW_SCALE
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.ranking import BODY, VERDICTS, WEIGHTS, SpriteRanker, read_ranker

TYPES_PER_BATCH, ROW = 2, 8  # sprites of one type
TABLES = ("view", "color", "shape", "size", "type")
PUT_BACK = ("type",)  # These learn along, but are put back: what they say was recognized less often.
MATCHED = ("color", "shape")
# Weights in the reward, beside that of the verdicts, which is 1.
MATCH, BODIES, OVERLAP, KERNEL = 0.6, 1.0, 8.0, 5.0
MEMORY = 0.9  # of the share of each body, from batch to batch
FRONT_STEPS, FRONT_RATE = 150, 0.006
BACK_STEPS, BACK_RATE = 100, 0.03


class Samples:
    """Samples of a pipeline with their gradient, and what its ranker makes of them.

    Args:
        pipeline: In float32, without guidance.
        ranker: With a network of its own, so that its features stay the same.
    """

    def __init__(self, pipeline: PokemonDDPMPipeline, ranker: SpriteRanker):
        self.pipeline, self.ranker = pipeline, ranker

    def conditions(self, types: Sequence[str], seeds: Sequence[int]) -> dict[str, list[str]]:
        """Attribute -> the value of each sample, drawn by its seed, see `SpriteConditioner.draw`."""
        conditioner, columns = self.pipeline.conditioner, dict(self.pipeline.config.default_conditions)
        drawn = [conditioner.draw(name, columns, seed) for name, seed in zip(types, seeds, strict=True)]
        columns = {name: [value] * len(types) for name, value in columns.items()}
        return columns | {name: [conditions[name] for conditions in drawn] for name in drawn[0]}

    def __call__(self, embeddings: Tensor, seeds: Sequence[int], **arguments: Any) -> Tensor:
        """The final latents (N, C, S, S)."""
        sample = inspect.unwrap(type(self.pipeline).__call__)  # without its torch.no_grad
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        arguments |= {"generator": generators, "output_type": "latent"}
        return sample(self.pipeline, class_embeddings=embeddings, **arguments).images

    def sprites(self, latents: Tensor) -> list[Image.Image]:
        """Processed sprites."""
        images = self.pipeline.postprocess(latents.detach(), "pil")
        return [to_sprite(image, palette=None) for image in images]

    def features(self, latents: Tensor) -> Tensor:
        """The ranker's features (N, F) of the processed sprites, with the gradient of the latents."""
        shown = self.ranker.clean(as_tensor(self.sprites(latents)))
        return self.ranker.features_of(latents + (shown - latents).detach())


def mean_overlap(latents: Tensor) -> Tensor:
    """The mean over pairs of a row of the soft IoU of their silhouettes, in the better of two facings.

    The alpha of latents is from about -0.5 to 0.5, and that of silhouettes here from 1/4 to 3/4: common background
    counts, too, so that no pair is without a gradient.
    """
    alpha = (latents[:, 3] + 1).clamp(0, 2) / 2
    one, mirrored = (images.reshape(-1, ROW, alpha[0].numel()) for images in (alpha, alpha.flip(2)))
    pairs = [(one[:, :, None], others[:, None]) for others in (one, mirrored)]
    overlap = torch.stack([torch.minimum(*pair).sum(-1) / torch.maximum(*pair).sum(-1) for pair in pairs]).amax(dim=0)
    return _mean_of_pairs(overlap)


def _mean_of_pairs(matrices: Tensor) -> Tensor:
    """Of matrices (R, N, N) without their diagonals."""
    count = matrices.shape[-1]
    return (matrices * (1 - torch.eye(count))).sum() / (len(matrices) * count * (count - 1))


class FrontReward:
    """What the front of one type should be; remembers how often each body came."""

    def __init__(self, samples: Samples, types: Sequence[str], seeds: Sequence[int]):
        self.samples, self.shares = samples, None
        with torch.no_grad():
            embeddings = samples.pipeline.conditioner.encode(types, **samples.conditions(types, seeds))
            features = samples.features(samples(embeddings, seeds))
        self.mean, self.std = features.mean(dim=0), features.std(dim=0) + 1e-6
        self.usual = self.distances(features).mean() / 2

    def distances(self, features: Tensor) -> Tensor:
        """Mean squares of the differences of standardized features in each row, (R, ROW, ROW)."""
        rows = ((features - self.mean) / self.std).reshape(-1, ROW, features.shape[1])
        # torch.cdist by matrix products has no gradient where two are equal.
        return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square() / features.shape[1]

    def __call__(self, latents: Tensor, conditions: dict[str, list[str]]) -> tuple[Tensor, Tensor]:
        """The reward, and the mean score of the verdicts."""
        ranker, features = self.samples.ranker, self.samples.features(latents)
        score = (ranker.head(features) @ torch.tensor(WEIGHTS)).mean()
        bodies = ranker.probes[BODY](features).softmax(dim=1).mean(dim=0)
        self.shares = bodies.detach() if self.shares is None else self.shares.lerp(bodies.detach(), 1 - MEMORY)
        reward = score - BODIES * (bodies * self.shares.clamp_min(1e-4).log()).sum()
        for name in MATCHED:
            wanted, values = conditions[name], ranker.values(name)
            known = [i for i, value in enumerate(wanted) if value in values]
            places = torch.tensor([values.index(wanted[i]) for i in known], dtype=torch.int64)
            likely = ranker.probes[name](features[known]).log_softmax(dim=1).gather(1, places[:, None])
            reward = reward + MATCH * likely.sum() / max(1, len(known))
        alike = _mean_of_pairs((-self.distances(features) / self.usual).exp())
        return reward - OVERLAP * mean_overlap(latents) - KERNEL * alike, score


def learn(
    parameters: list[torch.nn.Parameter], steps: int, rate: float, reward: Callable[[], tuple[Tensor, Tensor]]
) -> None:
    """Ascends the gradient of `reward()`, a number and what to show of it, with a falling rate."""
    optimizer, shown = torch.optim.Adam(parameters, lr=rate), []
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1, (i + 1) / 10, max(0.1, (steps - i) / (0.4 * steps)))
    )
    with tqdm(range(steps)) as progress:
        for _ in progress:
            value, score = reward()
            (-value).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            shown = [*shown[-9:], score.item()]
            progress.set_postfix(score=f"{sum(shown) / len(shown):.3f}")


def tune_fronts(samples: Samples, rng: np.random.Generator) -> None:
    """Learns the tables, in place."""
    conditioner = samples.pipeline.conditioner
    types = conditioner.vocabulary["type"]
    reward = FrontReward(samples, [name for name in types for _ in range(ROW)], range(len(types) * ROW))
    tables = [conditioner.tables[f"{name}_embedding"].weight.requires_grad_() for name in TABLES]
    for name, table in zip(TABLES, tables, strict=True):
        fixed = torch.zeros(len(table), 1)
        fixed[: len(conditioner.vocabulary[name])] = 1
        if name == "view":
            fixed[conditioner.vocabulary[name].index("back")] = 0
        table.register_hook(lambda gradient, fixed=fixed: gradient * fixed)

    def batch() -> tuple[Tensor, Tensor]:
        chosen = np.repeat(rng.choice(types, TYPES_PER_BATCH, replace=False), ROW).tolist()
        seeds = rng.integers(0, 2**31, len(chosen)).tolist()
        conditions = samples.conditions(chosen, seeds)
        return reward(samples(conditioner.encode(chosen, **conditions), seeds), conditions)

    before = {name: conditioner.tables[f"{name}_embedding"].weight.detach().clone() for name in PUT_BACK}
    learn(tables, FRONT_STEPS, FRONT_RATE, batch)
    for table in tables:
        table.requires_grad_(False)
    for name, weight in before.items():
        conditioner.tables[f"{name}_embedding"].weight.copy_(weight)


def tune_backs(samples: Samples, rng: np.random.Generator) -> None:
    """Learns the embedding of "back", in place."""
    conditioner, ranker = samples.pipeline.conditioner, samples.ranker
    table, place = conditioner.tables["view_embedding"].weight, conditioner.vocabulary["view"].index("back")
    strong = torch.nn.Parameter(torch.lerp(table[-1], table[place], VIEW_SCALE))
    types = conditioner.vocabulary["type"]

    def batch() -> tuple[Tensor, Tensor]:
        chosen = rng.choice(types, TYPES_PER_BATCH * ROW).tolist()
        seeds = rng.integers(0, 2**31, len(chosen)).tolist()
        conditions = samples.conditions(chosen, seeds)
        with torch.no_grad():
            fronts = samples.sprites(samples(conditioner.encode(chosen, **conditions), seeds))
        mirrored = [front.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for front in fronts]
        embeddings = conditioner.encode(chosen, **conditions | {"view": ["any"] * len(chosen)}) - table[-1] + strong
        verdicts = ranker.head(samples.features(samples(embeddings, seeds, image=mirrored, strength=BACK_STRENGTH)))
        backs, faces = (verdicts[:, VERDICTS.index(name)] for name in ("back", "face"))
        return (backs - faces.clamp_min(0)).mean(), backs.mean()

    learn([strong], BACK_STEPS, BACK_RATE, batch)
    with torch.no_grad():
        table[place] = torch.lerp(table[-1], strong, 1 / VIEW_SCALE)


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, tunes and saves the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a distilled model, with its ranker")
    parser.add_argument("output", type=Path, help="folder of the tuned pipeline")
    options = parser.parse_args(arguments)
    pipeline, own = (PokemonDDPMPipeline.from_pretrained(options.model) for _ in range(2))
    pipeline.set_progress_bar_config(disable=True)
    for network in (pipeline.unet, pipeline.conditioner):
        network.requires_grad_(False)
    ranker, rng = read_ranker(own, options.model), np.random.default_rng(0)
    if ranker is None or not {BODY, *MATCHED} <= {*ranker.probes}:
        parser.error(f"{options.model} has no ranker with probes; see train_ranker.py and fit_probes.py.")
    samples = Samples(pipeline, ranker)
    for tune in (tune_fronts, tune_backs):
        tune(samples, rng)
        pipeline.save_pretrained(options.output)


if __name__ == "__main__":
    main()
