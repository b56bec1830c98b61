"""The training script's `main`, in this process, on a tiny network and the starter sprites."""

import json
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pokemon_ddpm import PokemonDDPMPipeline, load_sprites
from tests.training_runs import TINY_NETWORK, logged, tiny_flags, train


@pytest.fixture
def flags(sprites_cache: Path, tmp_path: Path) -> list[str]:
    """A run of four updates, of which `run` in tmp_path is the output folder."""
    return tiny_flags(tmp_path, sprites_cache)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def checkpoint_tensors(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    assert [file.stem for file in files] == ["ema", "model", "optimizer"]
    return {f"{file.stem}.{name}": tensor for file in files for name, tensor in load_file(file).items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_run_leaves_a_pipeline_that_draws(flags: list[str], run: Path) -> None:
    train([*flags, "--save_images_steps=2", "--ddpm_num_inference_steps=2"])
    pipeline = PokemonDDPMPipeline.from_pretrained(run)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(["fire", "water/flying"], num_inference_steps=2).images
    assert [image.size for image in images] == [(16, 16)] * 2
    assert pipeline.scheduler.config.beta_schedule == "squaredcos_cap_v2"
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["step-000002.png", "step-000004.png"]
    assert Image.open(run / "samples" / "step-000004.png").getcolors(maxcolors=8) is None
    assert json.loads((run / "training_config.json").read_text())["resolution"] == 16


def test_the_pipeline_holds_the_averaged_weights_or_the_plain_ones(flags: list[str], run: Path) -> None:
    train(flags)
    saved = load_file(run / "unet" / "diffusion_pytorch_model.safetensors")
    model, ema = (load_file(run / "checkpoint-4" / f"{name}.safetensors") for name in ("model", "ema"))
    assert all(torch.equal(tensor, ema[f"unet.{name}"]) for name, tensor in saved.items())
    train([*flags, "--overwrite_output_dir", "--no_use_ema"])
    saved = load_file(run / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(tensor, model[f"unet.{name}"]) for name, tensor in saved.items())


def test_accumulation_does_not_change_the_update(flags: list[str], run: Path) -> None:
    plain = [flag.replace("tiny.json", "plain.json") for flag in flags]
    (run.parent / "plain.json").write_text(json.dumps({**TINY_NETWORK, "dropout": 0.0}))
    train(plain)
    whole = checkpoint_tensors(run / "checkpoint-4")
    train([*plain, "--overwrite_output_dir", "--train_batch_size=4", "--gradient_accumulation_steps=2"])
    for name, tensor in checkpoint_tensors(run / "checkpoint-4").items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=2e-4)


def test_num_epochs_counts_passes_over_the_training_split(flags: list[str], run: Path) -> None:
    flags = [flag for flag in flags if not flag.startswith("--max_train_steps")]
    train([*flags, "--train_batch_size=432", "--num_epochs=1"])
    assert (run / "checkpoint-2").is_dir()  # 864 creatures to train on


def test_the_schedule_warms_up_and_the_log_shows_it(flags: list[str], run: Path) -> None:
    train([*flags, "--report_to=tensorboard", "--lr_scheduler=constant_with_warmup", "--learning_rate=0.001"])
    assert logged(run, "lr") == pytest.approx([0.0005, 0.001, 0.001, 0.001])  # of the update that follows
    assert len(logged(run, "loss")) == 4


def test_pretrained_weights_are_where_training_starts(flags: list[str], run: Path) -> None:
    train(flags)
    start = load_file(run / "unet" / "diffusion_pytorch_model.safetensors")
    other = run.parent / "fine-tuned"
    train(
        [
            *flags[1:],
            f"--output_dir={other}",
            f"--pretrained_model_name_or_path={run}",
            "--learning_rate=1e-12",
            "--adam_weight_decay=0",
        ]
    )
    tuned = load_file(other / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.allclose(tensor, start[name], atol=1e-7) for name, tensor in tuned.items())


def test_a_parquet_data_set_trains_like_the_folder(flags: list[str], run: Path, sprites_cache: Path) -> None:
    train(flags)
    from_builder = checkpoint_tensors(run / "checkpoint-4")
    parquet = run.parent / "parquet"
    sprites: datasets.DatasetDict = load_sprites(cache_dir=sprites_cache)
    for split, rows in sprites.items():
        rows.to_parquet(parquet / "data" / f"{split}-00000-of-00001.parquet")
    train([*flags, "--overwrite_output_dir", f"--dataset_name={parquet}"])
    assert_equal(checkpoint_tensors(run / "checkpoint-4"), from_builder)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--train_data_dir=/nowhere"], "/nowhere does not exist"),
        (["--dataset_name=/nowhere/at/all"], "--dataset_name /nowhere/at/all"),
        (["--dataset_config_name=back"], "Unknown data set configuration 'back'. Known: front, all, starter"),
        (
            ["--model_config_name_or_path=huge"],
            "'huge' is neither a preset (small, base, thesis-vanilla, thesis-attention, thesis-final) nor",
        ),
        (["--mixed_precision=fp16"], "fp16 needs a GPU"),
        (["--resume_from_checkpoint=checkpoint-7"], "there is no checkpoint-7"),
    ],
)
def test_mistakes_are_told_in_a_sentence(flags: list[str], wrong: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as stop:
        train([*flags, *wrong])
    assert str(stop.value).startswith("error: ") and said in str(stop.value)


def test_a_missing_tracker_is_told(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="error: --report_to wandb: wandb is not installed"):
        train([*flags, "--report_to=wandb"])


def test_a_saved_configuration_does_not_overwrite_the_run_it_came_from(flags: list[str], run: Path) -> None:
    train([*flags, "--overwrite_output_dir"])
    with pytest.raises(SystemExit, match="already holds a run"):
        train([str(run / "training_config.json")])


def test_a_folder_that_is_no_run_is_not_cleared(flags: list[str], run: Path) -> None:
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "mine.txt").write_text("keep")
    train([*flags, "--overwrite_output_dir", "--max_train_steps=1"])
    assert (run / "logs" / "mine.txt").read_text() == "keep"


def test_a_missing_pretrained_model_is_told(flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="error: There is no model folder '/nowhere'"):
        train([*flags[1:], "--pretrained_model_name_or_path=/nowhere"])


def test_a_run_is_not_overwritten_unasked(flags: list[str], run: Path) -> None:
    train(flags)
    weights = (run / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    with pytest.raises(SystemExit, match="already holds a run"):
        train(flags)
    assert (run / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    with pytest.raises(SystemExit, match="/nowhere does not exist"):
        train([*flags, "--overwrite_output_dir", "--train_data_dir=/nowhere"])
    assert (run / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    mine = run / "notes.txt"
    mine.write_text("keep")
    train([*flags, "--overwrite_output_dir", "--max_train_steps=1"])
    assert mine.read_text() == "keep"
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-1"]
