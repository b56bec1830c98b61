"""examples/train_class_conditional.py on small images: ten updates, the saved pipeline, and wrong input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from examples import train_class_conditional as example
from tests.labelled_images import folder_of_classes

NETWORK = {f"{name.lower()}_block_types": [f"{name}Block2D"] * 2 for name in ("Down", "Up")}
NETWORK |= {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4}
LOAD = """
import sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
assert not {"datasets", "pokemon_ddpm"} & set(sys.modules)
pipeline("bug", num_inference_steps=1).images[0].save(sys.argv[2])
pipeline.save_pretrained(sys.argv[3])
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_classes(tmp_path_factory.mktemp("images"), {"bug": 6, "dark": 6})


def train(images: Path, output: Path, *arguments: str) -> Path:
    network = output.with_suffix(".json")
    network.write_text(json.dumps(NETWORK))
    flags = (
        f"--train_data_dir {images} --model_config_name_or_path {network} --output_dir {output} --resolution 16 "
        "--train_batch_size 4 --eval_batch_size 2 --max_train_steps 10 --ddpm_num_inference_steps 2 --use_ema"
    )
    example.main(example.parse_args([*flags.split(), *arguments]))
    return output


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(images, tmp_path_factory.mktemp("trained") / "model", "--random_flip")


def load(folder: Path):
    pipeline = DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(pipeline, labels, seed: int = 0, **settings) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return pipeline(labels, generator=generator, num_inference_steps=3, output_type="pt", **settings).images


def test_loads_in_two_lines_of_a_fresh_process(trained: Path, tmp_path: Path) -> None:
    image, again = tmp_path / "image.png", tmp_path / "again"
    subprocess.run([sys.executable, "-c", LOAD, trained, image, again], check=True, cwd=tmp_path)
    assert Image.open(image).size == (16, 16)
    assert torch.equal(sample(load(again), "bug"), sample(load(trained), "bug"))
    assert Image.open(trained / "samples.png").size == (2 * 16, 2 * 16)  # a row for each class
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(str(trained))


def test_guidance_and_unknown_classes(trained: Path) -> None:
    """A scale of 1 is the conditional prediction, 0 the unconditional one, and others lie on the line through both."""
    pipeline = load(trained)
    scheduler, ids = pipeline.scheduler, torch.tensor([1, 0])
    generator = torch.Generator().manual_seed(0)
    expected = torch.randn(2, 3, 16, 16, generator=generator)
    scheduler.set_timesteps(3)
    with torch.no_grad():
        for t in scheduler.timesteps:
            prediction = pipeline.unet(expected, t, class_labels=ids).sample
            expected = scheduler.step(prediction, t, expected, generator=generator).prev_sample
    expected = (expected / 2 + 0.5).clamp(0, 1)
    assert torch.equal(sample(pipeline, ["dark", 0], guidance_scale=1.0), expected)
    assert not torch.allclose(sample(pipeline, ["dark", 0], guidance_scale=3.0), expected)
    unconditional = sample(pipeline, [None, None], guidance_scale=1.0)
    torch.testing.assert_close(sample(pipeline, ["dark", "bug"], guidance_scale=0.0), unconditional)
    assert not torch.allclose(unconditional, expected)
    with pytest.raises(ValueError, match=r"Unknown class 'cat'. Choose from \['bug', 'dark'\]"):
        pipeline(["bug", "cat"])


def test_labels_of_a_table_and_the_hub(images: Path, tmp_path: Path, hub) -> None:
    """Classes may be strings in a column of any name; what has none is trained without condition."""
    shutil.copytree(images, tmp_path / "table")
    files = [path.relative_to(images) for path in sorted(images.rglob("*.png"))]
    rows = [f"{file},{'' if file.stem == '005' else file.parent}" for file in files]
    (tmp_path / "table" / "metadata.csv").write_text("\n".join(["file_name,kind", *rows]))
    flags = ("--label_column", "kind", "--push_to_hub", "--hub_model_id", "ash/types", "--max_train_steps", "1")
    output, pushed = train(tmp_path / "table", tmp_path / "out", *flags), load("ash/types")
    assert pushed.labels == {"bug": 0, "dark": 1} and pushed.unet.config.num_class_embeds == 3
    assert torch.equal(sample(pushed, "bug"), sample(load(output), "bug"))


def test_wrong_input(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for flags, message in {
        "": "either --dataset_name or --train_data_dir",
        f"--train_data_dir {tmp_path / 'none'}": "is no folder",
        f"--train_data_dir {tmp_path} --resolution 20": "multiple of 8, but is 20",
        f"--train_data_dir {tmp_path} --conditioning_dropout_prob 2": "from 0 to 1, but is 2.0",
    }.items():
        with pytest.raises(SystemExit):
            example.parse_args(flags.split())
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="No column 'label', only image"):
        train(images / "bug", tmp_path / "out")
    with pytest.raises(SystemExit, match="No column 'photo', only image, label"):
        train(images, tmp_path / "out", "--image_column", "photo")
    assert not (tmp_path / "out").exists()
