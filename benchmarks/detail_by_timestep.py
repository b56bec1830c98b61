"""Which details are left of held-out fronts that are noised to a timestep and finished by a model, in a table.

    python -m benchmarks.detail_by_timestep --data_dir path/to/pokemon-sprites pokemon-ddpm-64-fast outputs/other

A front is noised to that of the model's own timesteps which is nearest to one of --timesteps, since a distilled model
knows no others, and finished with all its conditions but tags. Fronts and noise are the same for every model. Figures
compare the sprites with the fronts themselves:

- eyes: how many have a clear eye where the front has one, by its annotation. The judge sees the cell and the 8 pixels
  around it alone. It was fitted to training fronts (with --fit again): to eyes, smeared ones and other cells; of the
  other cells of held-out ones it sees an eye in `FALSE`.
- edges: the F measure of edges that are found within a pixel (Martin et al. 2004, section 3).
- color: the mean distance in OKLab inside both silhouettes; chroma: the mean chroma, and contrast: the standard
  deviation of a sprite's lightness, both as a part of the fronts'.

The first lines show what they tell apart: real fronts as `generate` would save them, blurred ones, and other fronts.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.utils import tqdm
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from benchmarks.fit_probes import FOLDER, read
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.data import SpriteTensors, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.evaluation.evaluate import percent
from pokemon_ddpm.evaluation.images import default_output
from pokemon_ddpm.evaluation.metrics import share
from pokemon_ddpm.evaluation.two_sample import TwoSampleClassifier, classifier_logits, fit_classifier
from pokemon_ddpm.files import save_image
from pokemon_ddpm.pipelines.sampling import set_timesteps
from pokemon_ddpm.pipelines.sprite_conditioner import TAGS
from pokemon_ddpm.pipelines.sprite_preprocessing import TRANSPARENT, oklab
from pokemon_ddpm.preprocessing import as_arrays, as_tensor
from pokemon_ddpm.sheets import sprite_sheet

JUDGE_FILE = FOLDER / "eyes.safetensors"
SIDE, CELL, MARGIN = 64, 8, 8  # pixels of a sprite, of a cell of the annotations, and around it
AWAY = 3  # cells between an eye and cells without one; nearer ones share pixels with it
STEPS, SMEARS, FALSE = 600, 8, 0.1  # of the judge; smeared copies of each eye
SMEAR, SMOOTHNESS = 2.2, 1.5  # standard deviations of the displacement of a pixel, and of the filter that smooths it
EDGE = 0.2  # in OKLab, between neighboring pixels
BLUR = 1.0  # standard deviation in pixels
CHUNK, SHOWN = 32, 24  # sprites of a batch, and in --sheet


def windows(images: Tensor, cells: Tensor) -> Tensor:
    """Cells of sprites, uint8 (N, 4, S, S), with the pixels around them: (K, 4, W, W). For places see `eye_cells`."""
    background = images.new_tensor(TRANSPARENT).view(1, 4, 1, 1)
    padded = functional.pad(images - background, (MARGIN,) * 4) + background  # modulo 256
    every = padded.unfold(2, CELL + 2 * MARGIN, CELL).unfold(3, CELL + 2 * MARGIN, CELL)
    return every[cells[:, 0], :, cells[:, 1], cells[:, 2]]


def eye_cells(names: list[str]) -> Tensor:
    """Sprite, row and column, int64 (K, 3), of annotations such as "C4"; "-" is none."""
    return torch.tensor(
        [(i, int(name[1]) - 1, ord(name[0]) - ord("A")) for i, name in enumerate(names) if name != "-"]
    )


def other_cells(images: Tensor, eyes: Tensor) -> Tensor:
    """The cells, as `eye_cells`, that are mostly opaque, and not near the eye of their sprite."""
    opaque = functional.avg_pool2d((images[:, 3] > 0).float(), CELL) > 0.5
    near = torch.zeros_like(opaque, dtype=torch.float32)
    near[tuple(eyes.T)] = 1
    return (opaque & (functional.max_pool2d(near, 2 * AWAY - 1, 1, AWAY - 1) == 0)).nonzero()


def fit_judge(images: Tensor, eyes: Tensor) -> TwoSampleClassifier:
    """Learns to tell windows of sprites, uint8 (N, 4, S, S), with eyes, int64 (K, 3), from others and smeared ones."""
    others = [windows(images, other_cells(images, eyes))]
    others += [windows(smeared(images, seed), eyes) for seed in range(SMEARS)]
    judge = fit_classifier(torch.cat(others), windows(images, eyes), steps=STEPS)
    return judge.half().float().to(memory_format=torch.contiguous_format)


def smeared(images: Tensor, seed: int) -> Tensor:
    """Sprites, uint8 (N, 4, S, S), whose pixels are displaced smoothly: colors and contrast stay, eyes do not."""
    field = np.random.default_rng(seed).normal(size=(len(images), 2, *images.shape[2:]))
    field = ndimage.gaussian_filter(field, (0, 0, SMOOTHNESS, SMOOTHNESS))
    places = np.rint(np.indices(images.shape[2:]) + field * (SMEAR / field.std())).astype(int)
    rows, columns = places.clip(0, images.shape[-1] - 1).transpose(1, 0, 2, 3)
    return as_tensor(as_arrays(images)[np.arange(len(images))[:, None, None], rows, columns])


def edges(lab: np.ndarray) -> np.ndarray:
    """Where colors, float (N, S, S, 3), differ from the pixel to the right or below by `EDGE`: bool (N, S, S)."""
    steps = [np.diff(lab, axis=axis, append=lab.take([-1], axis)) for axis in (1, 2)]
    return np.maximum(*(np.linalg.norm(step, axis=3) for step in steps)) >= EDGE


def figures(made: Tensor, true: Tensor) -> dict[str, float]:
    """Edges, color, chroma and contrast of sprites beside the true ones, uint8 (N, 4, S, S) both."""
    pixels = [as_arrays(images) for images in (made, true)]
    labs, inside = [oklab(rgba[..., :3]) for rgba in pixels], [rgba[..., 3] > 0 for rgba in pixels]
    found, wanted = (edges(lab) for lab in labs)
    near_found, near_wanted = (ndimage.binary_dilation(some, np.ones((1, 3, 3))) for some in (found, wanted))
    shares = near_wanted[found].mean(), near_found[wanted].mean()  # precision and recall
    chromas = [np.hypot(*lab[mask, 1:].T).mean() for lab, mask in zip(labs, inside, strict=True)]
    contrasts = [lab[..., 0].std(axis=(1, 2), where=mask).mean() for lab, mask in zip(labs, inside, strict=True)]
    return {
        "edges": 2 * np.prod(shares) / sum(shares),
        "color": np.linalg.norm(labs[0] - labs[1], axis=3)[inside[0] & inside[1]].mean(),
        "chroma": chromas[0] / chromas[1],
        "contrast": contrasts[0] / contrasts[1],
    }


def blurred(images: Tensor) -> Tensor:
    """Sprites, uint8 (N, 4, S, S), whose colors are blurred inside their silhouettes."""
    opaque, sigma = images[:, 3:].numpy() > 0, (0, 0, BLUR, BLUR)
    colors = ndimage.gaussian_filter(np.where(opaque, images[:, :3], 0).astype(float), sigma)
    weights = ndimage.gaussian_filter(opaque.astype(float), sigma)
    colors = np.where(opaque, colors / np.maximum(weights, 1e-6), 255).round()
    return torch.cat([torch.from_numpy(colors).byte(), images[:, 3:]], dim=1)


@torch.no_grad()
def finish(pipeline: PokemonDDPMPipeline, fronts: SpriteTensors, timestep: int) -> tuple[int, Tensor]:
    """The model's timestep that is nearest, and fronts noised to it and finished: uint8 (N, 4, S, S), as saved."""
    own = set_timesteps(pipeline.scheduler, pipeline.config.num_inference_steps, "cpu")
    start = int((own - timestep).abs().argmin())
    strength = min(1.0, (len(own) - start + 0.5) / len(own))  # a half more, which is rounded down
    known, made = fronts.conditioned_on(pipeline.conditioner.any_ids), []
    for rows in tqdm(torch.arange(len(fronts)).split(CHUNK), f"From {own[start]}"):
        part = known.rows(rows)
        names = part.labels.keys() & pipeline.conditioner.any_ids.keys() - {TAGS}
        embeddings = pipeline.conditioner({name: part.labels[name] for name in sorted(names)})
        noise = [torch.Generator().manual_seed(row) for row in rows.tolist()]
        clean = part.images.float() / 127.5 - 1
        made += pipeline(image=clean, strength=strength, class_embeddings=embeddings, generator=noise).images
    return int(own[start]), default_output(as_tensor(made))


def load_fronts(data_dir: str, split: str) -> tuple[SpriteTensors, Tensor]:
    """The annotated fronts of a split, and the cells of their eyes."""
    rows = load_sprites(data_dir, "front", split=split, exclude_faulty=True, deduplicate=True)
    return sprite_tensors(rows, SIDE), eye_cells(read().eye[rows["path"][:]].tolist())


def lines(options: argparse.Namespace, fronts: SpriteTensors, real: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What stands in each line of the table, and its sprites."""
    yield "real", real
    yield f"blurred by {BLUR:g} pixel", default_output(blurred(fronts.images))
    yield "another front", real.roll(1, dims=0)
    for model in options.models:
        pipeline = PokemonDDPMPipeline.from_pretrained(model)
        pipeline.set_progress_bar_config(disable=True)
        for timestep in options.timesteps:
            own, made = finish(pipeline, fronts, timestep)
            yield f"{model}, {own}", made


def main(arguments: list[str] | None = None) -> None:
    """Reads the flags, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="folders, Hub names or names of released models")
    parser.add_argument("--data_dir", required=True, help="the sprite archive")
    parser.add_argument("--timesteps", type=int, nargs="+", default=[249, 499, 749])
    parser.add_argument("--count", type=int, default=200, help="of the held-out fronts with an eye, at most")
    parser.add_argument("--sheet", type=Path, help=f"PNG of {SHOWN} fronts and their sprites of each line")
    parser.add_argument("--fit", action="store_true", help="fit the judge of eyes again")
    options = parser.parse_args(arguments)
    if options.fit:
        data, eyes = load_fronts(options.data_dir, "train")
        save_file(fit_judge(data.images, eyes).half().state_dict(), JUDGE_FILE)
    (judge := TwoSampleClassifier().eval()).load_state_dict(load_file(JUDGE_FILE))
    data, eyes = load_fronts(options.data_dir, "validation")
    real = default_output(data.images)
    limit = classifier_logits(judge, windows(real, other_cells(real, eyes))).quantile(1 - FALSE)
    eyes = eyes[torch.randperm(len(eyes), generator=torch.Generator().manual_seed(0))[: options.count]]
    fronts, real, sheet = data.rows(eyes[:, 0]), real[eyes[:, 0]], [data.images[eyes[:, 0]]]
    eyes = torch.cat([torch.arange(len(eyes))[:, None], eyes[:, 1:]], dim=1)
    print(f"| {len(real)} held-out fronts | eyes | edges | color | chroma | contrast |\n|---|{'---:|' * 5}")
    for name, made in lines(options, fronts, real):
        seen = percent(vars(share(classifier_logits(judge, windows(made, eyes)) > limit)))
        numbers = "{edges:.2f} | {color:.3f} | {chroma:.2f} | {contrast:.2f}".format(**figures(made, fronts.images))
        print(f"| {name} | {seen} | {numbers} |", flush=True)
        sheet.append(made)
    if options.sheet:
        rows = as_arrays(torch.stack(sheet, dim=1)[:SHOWN].flatten(0, 1))
        save_image(sprite_sheet([*map(Image.fromarray, rows)], len(sheet)), options.sheet)


if __name__ == "__main__":
    main()
