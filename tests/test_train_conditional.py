"""Whole runs of the training script: what they leave, exact resuming, stops and kills, divergence, and the Hub."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pokemon_ddpm import PokemonDDPMPipeline, load_sprites
from pokemon_ddpm.training import checkpoint, validation
from pokemon_ddpm.training.batches import NETWORK as DROPOUT
from pokemon_ddpm.training.batches import derive_seed
from pokemon_ddpm.training.export import save_sheet
from tests.labelled_images import folder_of_classes, parquet
from tests.small_archives import IMAGES, sprite, write
from tests.tiny_models import tiny_pipeline
from tests.training.runs import (
    AUGMENTED,
    BY_LOSS,
    LATEST,
    ONE_UPDATE,
    SCRIPT,
    TIMEOUT,
    contents,
    forked,
    full_disk,
    names,
    nan_in,
    prints,
    same,
    state,
    tiny_flags,
    train,
    trainer,
    two_processes,
    wait_until,
)

ENDLESS = ["--max_train_steps=1000000", "--lr_scheduler=constant", "--max_train_seconds=600"]
OVERWRITE = "--overwrite_output_dir"
ALL = [f"checkpoint-{step}" for step in (1, 2, 3, 4)]


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return tiny_flags(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The output folder of `flags`."""
    return tmp_path / "run"


@pytest.fixture
def unbroken(tmp_path: Path) -> Path:
    """Another output folder, with the same name, which is the title of the model card."""
    return tmp_path / "unbroken" / "run"


def newest(run: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in run.glob("checkpoint-*")), default=0)


# What a run leaves


def test_the_output_folder_is_a_pipeline_with_card_sheets_and_checkpoints(flags, run, capsys):
    train([*flags, "--save_images_steps=2", "--validation_steps=3"])
    pipeline = PokemonDDPMPipeline.from_pretrained(run)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(["fire", "water/flying"], num_inference_steps=2).images
    assert [image.size for image in images] == [(16, 16)] * 2
    assert pipeline.config.num_inference_steps == 1 and {"view", "finish"} <= pipeline.conditioner.vocabulary.keys()
    assert sorted(path.name for path in run.glob("samples/*")) == ["step-000002.png", "step-000004.png"]
    assert Image.open(run / "samples" / "step-000004.png").getcolors(maxcolors=8) is None
    card = (run / "README.md").read_text()
    assert "4 updates" in card and "samples/step-000004.png" in card and str(run) not in card
    assert json.loads((run / "training_config.json").read_text())["resolution"] == 16
    assert names(run) == ALL
    losses = {step: state(run / f"checkpoint-{step}")["metrics"] for step in (1, 2, 3, 4)}
    assert losses[1] == losses[2] == {}
    assert losses[3].keys() == losses[4].keys() == {"validation_loss", "train_split_loss"}  # the last one always
    output = capsys.readouterr().out
    assert "4 images of 16x16, conditioned on" in output and "batch size 8, 4 updates, on cpu (fp32)." in output
    lines = [line for line in output.splitlines() if "images/s" in line]
    assert [line.split("  ")[:2] for line in lines] == [[f"step {i}", f"images {8 * i}"] for i in (1, 2, 3, 4)]
    # The learning rate is that of the update that follows.
    assert [re.search(r"lr (\S+)", line)[1] for line in lines] == ["5.00e-04", "1.00e-03", "5.00e-04", "0.00e+00"]


@pytest.mark.parametrize(("ema", "file"), [([], "ema"), (["--no_use_ema"], "model")])
def test_the_best_checkpoint_is_kept_and_can_become_the_model(flags, run, monkeypatch, ema, file):
    flags = [*flags, *ema, "--validation_steps=1", "--checkpoints_total_limit=1"]
    for more, expected in (([], 4), ([OVERWRITE, "--load_best_model_at_end"], 2)):
        losses = [0.5, 0.5, 0.1, 0.1, 0.3, 0.3, 0.2, 0.2]  # of both splits at each step
        monkeypatch.setattr(validation.LossProbe, "measure", lambda *_, losses=losses: losses.pop(0))
        train([*flags, *more])
        assert names(run) == ["checkpoint-2", "checkpoint-4"]
        model = load_file(run / "unet" / "diffusion_pytorch_model.safetensors")
        saved = load_file(run / f"checkpoint-{expected}" / f"{file}.safetensors")
        assert all(torch.equal(tensor, saved[f"unet.{name}"]) for name, tensor in model.items())
    losses[:] = [0.2, 0.2] * 4
    train([*flags, OVERWRITE, "--metric_for_best_model=none"])
    assert names(run) == ["checkpoint-4"]


def test_measuring_and_sheets_change_nothing_of_the_training(flags, run, unbroken):
    train([*flags, "--validation_steps=1", "--save_images_steps=1"])
    train([*flags, f"--output_dir={unbroken}"])
    for file in ("model", "ema", "optimizer"):
        one, other = (load_file(folder / "checkpoint-4" / f"{file}.safetensors") for folder in (run, unbroken))
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("moment", ["init_trackers", "log", "end_training"])
def test_a_tracker_that_fails_does_not_end_the_run(flags, run, monkeypatch, capsys, moment):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no login")

    monkeypatch.setattr(f"accelerate.Accelerator.{moment}", fail)
    train([*flags, "--report_to=tensorboard", "--max_train_steps=2"])
    assert "warning: --report_to failed (no login). The run continues without it." in capsys.readouterr().out
    assert names(run) == ALL[:2] and (run / "model_index.json").is_file()


def test_class_folders_and_parquet_files(tmp_path, run):
    for split, count in (("train", 6), ("validation", 2)):
        folder_of_classes(tmp_path / "fruit" / split, {"apple": count, "pear": count})
    flags = [flag for flag in tiny_flags(tmp_path) if "dataset_config_name" not in flag and "train_data" not in flag]
    train([*flags, f"--train_data_dir={tmp_path / 'fruit'}", "--validation_steps=4"])
    assert PokemonDDPMPipeline.from_pretrained(run).conditioner.vocabulary == {"type": ["apple", "pear"]}

    archive = load_sprites(tmp_path / "small", cache_dir=tmp_path / "cache")
    parquet(tmp_path / "sprites", train=archive["train"])
    train([*flags, OVERWRITE, f"--dataset_name={tmp_path / 'sprites'}"])
    one = load_file(run / "checkpoint-4" / "model.safetensors")
    train([*flags, OVERWRITE, f"--train_data_dir={tmp_path / 'small'}"])
    other = load_file(run / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    with pytest.raises(SystemExit, match="^error: --dataset_name .*--validation_steps 0 and without --eval_steps"):
        train([*flags, OVERWRITE, f"--dataset_name={tmp_path / 'sprites'}", "--validation_steps=1"])


def test_a_pretrained_model_can_be_trained_further_with_more_conditions(flags, run, tmp_path):
    train([*flags, "--dataset_config_name=front", "--max_train_steps=1"])
    first = PokemonDDPMPipeline.from_pretrained(run).conditioner
    assert not {"view", "finish"} & first.vocabulary.keys()
    more = [f"--pretrained_model_name_or_path={run}", f"--output_dir={tmp_path / 'more'}", *flags[1:4], *flags[5:]]
    with trainer(more) as training:
        tables = training.unwrapped.conditioner.tables
        assert torch.equal(tables["type_embedding"].weight, first.tables["type_embedding"].weight)
        for name in ("view", "finish"):
            weight = tables[f"{name}_embedding"].weight
            assert not weight[-1].any() and weight[:-1].any(dim=1).all()  # nothing changes where it is not given
        for _ in range(3):
            training.train_step()
        assert tables["view_embedding"].weight[-1].any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([OVERWRITE, "--train_data_dir=/nowhere"], "/nowhere does not exist"),
        ([OVERWRITE, "--dataset_config_name=back"], "Unknown data set configuration 'back'"),
        ([OVERWRITE, "--model_config_name_or_path=huge"], "'huge' is neither a preset"),
        (["--mixed_precision=fp16"], "fp16 needs a GPU"),
        (["--report_to=wandb"], "--report_to wandb: wandb is not installed"),
        (["--resume_from_checkpoint=checkpoint-7"], "there is no checkpoint-7; checkpoints in .*: checkpoint-1."),
        ([], "already contains a run"),
        ([OVERWRITE, "--conditions", "type", "shape"], "the training images do not differ in shape"),
        ([OVERWRITE, "--distill_from=/no", "--distill_teacher_steps=2"], "There is no model folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing_of_an_older_run(flags, run, monkeypatch, wrong, message):
    train([*flags, "--max_train_steps=1"])
    before = contents(run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    flags = flags[1:] if "--distill_from=/no" in wrong else flags
    with pytest.raises(SystemExit, match=f"^error: .*{message}") as stop:
        train([*flags, *wrong])
    assert len(str(stop.value).splitlines()) == 1
    assert contents(run) == before


# Exact resuming


def signal_in(number: int, step: int, micro_step: int = 0) -> Callable[..., int]:
    """`derive_seed`, during which a signal arrives when the given step needs random numbers for dropout."""

    def derive(seed: int, purpose: int, *key: int) -> int:
        if purpose == DROPOUT and key == (step, 0, micro_step):
            signal.raise_signal(number)
        return derive_seed(seed, purpose, *key)

    return derive


EVERYTHING = [*AUGMENTED, "--train_batch_size=4", "--gradient_accumulation_steps=2"]
WAYS = {
    "fp32": [],
    "bf16 without EMA": ["--mixed_precision=bf16", "--no_use_ema"],
    "augmented and accumulated": [*EVERYTHING, "--timestep_sampling=stratified"],
    "importance sampling": [*BY_LOSS, "--variance_type=learned_range"],
    "distillation": [*EVERYTHING, "--distill_teacher_steps=4"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_stopped_in_each_update_equals_an_unbroken_one(flags, run, unbroken, tmp_path, way):
    """Stopped before the measurement and the sheet of each update, which are made up for."""
    if way == "distillation":
        tiny_pipeline().save_pretrained(tmp_path / "teacher")
        flags = [*flags[1:-1], f"--distill_from={tmp_path / 'teacher'}"]
    flags = [*flags, *WAYS[way], "--validation_steps=2", "--save_images_steps=2"]
    train([*flags, f"--output_dir={unbroken}"])
    for step in range(4):
        train([*flags, LATEST], derive_seed=signal_in(signal.SIGTERM, step))
        assert newest(run) == step + 1
    train([*flags, LATEST])
    assert same(run, unbroken)
    if way == "importance sampling":
        history = load_file(run / "checkpoint-2" / "timesteps.safetensors")
        assert (history["recorded"] >= 10).all()  # so two updates used it


def test_going_back_to_a_checkpoint(flags, run, unbroken):
    train([*flags, f"--output_dir={unbroken}"])
    shutil.copytree(unbroken, run)
    shutil.rmtree(run / "checkpoint-3")
    (run / "checkpoint-4" / "ema.safetensors").unlink()
    train([*flags, "--resume_from_checkpoint=checkpoint-2"])
    assert same(run, unbroken)


def test_settings_that_do_not_change_the_run_may_change(flags, run, unbroken, tmp_path):
    train([*flags, f"--output_dir={unbroken}"])
    train([*flags, ONE_UPDATE])
    moved = shutil.copytree(tmp_path / "small", tmp_path / "moved")
    other = [f"--train_data_dir={moved}", "--validation_steps=3", "--checkpointing_steps=2", "--max_bad_steps=0"]
    train(
        [*flags, LATEST, *other, "--train_batch_size=4", "--gradient_accumulation_steps=2", "--max_train_seconds=1e9"]
    )
    assert names(run) == ["checkpoint-1", "checkpoint-2", "checkpoint-4"]
    model, whole = (load_file(each / "checkpoint-4" / "model.safetensors") for each in (run, unbroken))
    assert all(tensor.isfinite().all() and tensor.shape == whole[name].shape for name, tensor in model.items())


def test_another_run_is_refused_with_all_that_differs(flags, run, tmp_path):
    train([*flags, "--max_train_steps=2"])
    before = contents(run)
    other_data = shutil.copytree(tmp_path / "small", tmp_path / "other")
    for shade, name in enumerate(IMAGES):
        write(other_data, name, sprite(100 + shade))
    changed = {"seed": (0, 1), "prediction_type": ("v_prediction", "epsilon"), "hue_prob": (0.0, 0.5)}
    other = [f"--{name}={now}" for name, (_, now) in changed.items()]
    other += [f"--train_data_dir={other_data}", "--train_batch_size=4", "--logging_steps=3", "--learning_rate=1e-4"]
    with pytest.raises(SystemExit) as stop:
        train([*flags, LATEST, *other])
    message = str(stop.value)
    assert message.startswith(f"error: {run / 'checkpoint-2'} belongs to a run with other settings: ")
    for name, (was, now) in changed.items():
        assert f"--{name} was {was}, now {now}" in message
    assert "the batch size was 8, now 4" in message and "the training images or their labels are others" in message
    assert message.count(";") == len(changed) + 1 and contents(run) == before

    (tmp_path / "tiny.json").write_text((tmp_path / "tiny.json").read_text().replace("0.1", "0.2"))
    with pytest.raises(SystemExit, match="the network's dropout was 0.1, now 0.2"):
        train([*flags, LATEST])
    with pytest.raises(SystemExit, match="has more updates than --max_train_steps or --num_epochs, 1"):
        train([*tiny_flags(tmp_path), LATEST, "--max_train_steps=1"])


def test_another_teacher_in_the_same_place_is_another_run(flags, tmp_path):
    teacher = tmp_path / "teacher"
    tiny_pipeline().save_pretrained(teacher)
    flags = [*flags[1:-1], f"--distill_from={teacher}", "--distill_teacher_steps=4"]
    train([*flags, "--max_train_steps=1"])
    assert json.loads((tmp_path / "run" / "training_config.json").read_text())["distill_guidance_scale"] == 2.0
    with pytest.raises(SystemExit, match="--distill_guidance_scale was 2.0, now 3.0"):
        train([*flags, LATEST, "--distill_guidance_scale=3"])
    pipeline = tiny_pipeline()
    torch.nn.init.ones_(pipeline.unet.conv_out.bias)
    pipeline.save_pretrained(teacher)
    with pytest.raises(SystemExit, match="the teacher's weights are others"):
        train([*flags, LATEST])


def test_a_longer_run_reports_the_new_learning_rate_schedule(flags, capsys):
    train([*flags, ONE_UPDATE])
    train([*flags, LATEST, ONE_UPDATE])
    assert "schedule is that of" not in capsys.readouterr().out
    train([*flags, LATEST, ONE_UPDATE, "--max_train_steps=9"])
    assert "the cosine learning rate schedule is that of 9 updates" in capsys.readouterr().out


def test_a_checkpoint_that_was_being_replaced_is_found_again(flags, run):
    """Also where it was the only one of a run that has already saved its model."""
    train([*flags, "--max_train_steps=2", "--checkpoints_total_limit=1"])
    shutil.copytree(run / "checkpoint-2", run / ".checkpoint-2.partial")
    (run / "checkpoint-2").rename(run / ".checkpoint-2.replaced")
    train([*flags, LATEST])
    assert names(run) == ALL[1:]


def test_latest_without_a_checkpoint_starts_from_the_beginning(flags, run, capsys):
    train([*flags, LATEST, "--max_train_steps=1"])
    assert "starting from the beginning" in capsys.readouterr().out and names(run) == ["checkpoint-1"]


@pytest.mark.parametrize("sampling", [[], BY_LOSS])
def test_a_batch_can_be_divided_over_accumulation_and_processes(tmp_path, sampling):
    """Without dropout in the network; the results agree up to rounding."""
    flags = [*tiny_flags(tmp_path, dropout=0.0), *sampling, "--validation_steps=4"]
    size = 24 if sampling else 8
    one, accumulated, two = (tmp_path / name for name in ("one", "accumulated", "two"))
    train([*flags, f"--output_dir={one}"])
    halves = [*flags, f"--train_batch_size={size // 2}"]
    train([*halves, f"--output_dir={accumulated}", "--gradient_accumulation_steps=2"])
    with contextlib.ExitStack() as stack:
        processes = two_processes([*halves, f"--output_dir={two}"], tmp_path, stack)
        for process in processes:
            process.join(TIMEOUT)
    assert [process.exitcode for process in processes] == [0, 0]
    expected, metrics = load_file(one / "checkpoint-4" / "model.safetensors"), state(one / "checkpoint-4")["metrics"]
    for run in (accumulated, two):
        for name, tensor in load_file(run / "checkpoint-4" / "model.safetensors").items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-3)
        assert state(run / "checkpoint-4")["metrics"] == pytest.approx(metrics, rel=1e-3)


# Full disks


@contextlib.contextmanager
def disk_full_at(*steps: int):
    """The disk is full while the checkpoints of these steps are saved."""
    save = checkpoint.save_checkpoint

    def save_or_fail(output_dir: Path, of: checkpoint.TrainingState, *rest: object) -> Path:
        with full_disk() if of.step in steps else contextlib.nullcontext():
            return save(output_dir, of, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", save_or_fail)
        yield


def test_a_full_disk_costs_a_checkpoint_but_not_the_run(flags, run, unbroken, capsys):
    train([*flags, f"--output_dir={unbroken}"])
    with disk_full_at(2):
        train(flags)
    warning = rf"warning: {run / 'checkpoint-2'} could not be written \(.*File too large.*\)\. The run continues\."
    assert re.search(warning, capsys.readouterr().out)
    assert names(run) == ["checkpoint-1", "checkpoint-3", "checkpoint-4"]
    assert same(run / "checkpoint-4", unbroken / "checkpoint-4")


def test_a_disk_that_stays_full_is_an_error_in_the_end(flags, run, unbroken):
    flags = [*flags, "--checkpoints_total_limit=1"]
    with disk_full_at(3, 4), pytest.raises(SystemExit, match="^error: There is no checkpoint of update 4; "):
        train(flags)
    assert names(run) == ["checkpoint-2"]
    PokemonDDPMPipeline.from_pretrained(run)
    train([*flags, LATEST])
    train([*flags, f"--output_dir={unbroken}"])
    assert same(run, unbroken)


def test_a_disk_too_full_for_sheet_or_model(flags, run, capsys):
    def save(*arguments: object) -> None:
        with full_disk():
            save_sheet(*arguments)

    train([*flags, "--save_images_steps=2", "--max_train_steps=2"], save_sheet=save)
    assert "step-000002.png could not be written (File too large). The run continues." in capsys.readouterr().out
    assert names(run) == ALL[:2] and not list(run.glob("samples/*"))

    with trainer([*flags, LATEST]) as training, full_disk(2000):
        with pytest.raises(ValueError, match=rf"^The model could not be written into {run} \(.*File too large"):
            training.save_pipeline()
    with pytest.raises(SystemExit, match=rf"^error: --output_dir {run} cannot be written: File too large\.$"):
        with full_disk():
            train([*flags, LATEST])


# Divergence


def test_skipped_updates_leave_weights_and_moments_and_are_not_saved(flags, run, capsys):
    """While updates are skipped, no checkpoint is written and no older one is deleted."""
    flags = [*flags, "--max_train_steps=6", "--checkpoints_total_limit=2"]
    train(flags, sample_batch=nan_in(2, 3))
    assert names(run) == ["checkpoint-2", "checkpoint-5", "checkpoint-6"]
    assert [state(run / name)["skipped_updates"] for name in names(run)] == [0, 2, 2]
    output = capsys.readouterr().out
    assert [f"warning: Update {step} was not finite and is not saved" in output for step in (3, 4, 5)] == [1, 1, 0]
    skipped = [line.partition("skipped ")[2] for line in output.splitlines() if "images/s" in line]
    assert skipped == ["", "", "1", "2", "2", "2"]


@pytest.mark.parametrize("limit", [1, 2])
def test_a_diverged_run_is_resumed_from_its_last_good_checkpoint(flags, run, capsys, limit):
    flags = [*flags, "--max_train_steps=9", f"--checkpoints_total_limit={limit}", "--max_bad_steps=3"]
    with pytest.raises(SystemExit) as stop:
        train(flags, sample_batch=nan_in(2, 4, 6, 7, 8))
    good = run / "checkpoint-2"
    assert str(stop.value).startswith(
        "error: Update 8: 4 updates were not finite, more than --max_bad_steps 3. The last"
    )
    assert f"good checkpoint: {good}. Resume with --resume_from_checkpoint checkpoint-2 and a lower" in str(stop.value)
    assert good.is_dir() and "checkpoint-6" in names(run) and not (run / "model_index.json").exists()
    assert len(names(run)) == 1 + limit

    with pytest.raises(SystemExit, match="--adam_beta1 was 0.9, now 0.5"):
        train([*flags, "--resume_from_checkpoint=checkpoint-2", "--adam_beta1=0.5"])
    changed = ["--learning_rate=0.0001", "--lr_warmup_steps=5"]
    train([*flags, "--resume_from_checkpoint=checkpoint-2", *changed])
    output = capsys.readouterr().out
    assert "--learning_rate was 0.001, now 0.0001" in output and "--lr_warmup_steps was 2, now 5" in output
    assert names(run) == [f"checkpoint-{step}" for step in range(10 - limit, 10)]
    assert state(run / "checkpoint-9")["skipped_updates"] == 0


def test_single_skipped_updates_at_both_ends_still_give_a_model(flags, run):
    train(flags, sample_batch=nan_in(0, 3))
    assert names(run) == ["checkpoint-2", "checkpoint-3", "checkpoint-4"] and (run / "model_index.json").is_file()
    assert state(run / "checkpoint-4")["skipped_updates"] == 2
    with pytest.raises(SystemExit, match="^error: Update 6: the last updates were not finite, so the model is not"):
        train([*flags, LATEST, "--max_train_steps=6"], sample_batch=nan_in(4, 5))
    assert newest(run) == 4


def test_the_count_continues_after_resuming_and_without_a_log(flags, run):
    flags = [*flags, "--max_bad_steps=1", "--logging_steps=100"]
    train([*flags, "--max_train_steps=3"], sample_batch=nan_in(1))
    with pytest.raises(SystemExit, match="2 updates were not finite"):
        train([*flags, LATEST, "--max_train_steps=5"], sample_batch=nan_in(3))


# Two runs in one folder


@pytest.mark.parametrize("more", [[], [OVERWRITE], [LATEST]])
def test_a_second_run_in_the_same_folder_is_refused(flags, run, tmp_path, more):
    output = tmp_path / "output"
    with forked([*flags, *ENDLESS, "--checkpointing_steps=1000000"], output) as first:
        wait_until(lambda: prints(output, "step 2 "), first)
        before = contents(run)
        holder = "in use by another run, process {} on " if more else "already contains a run|in use by another run"
        with pytest.raises(SystemExit, match=holder.format(first.pid)):
            train([*flags, *more])
        assert contents(run) == before and first.is_alive()
    train([*flags, OVERWRITE])  # the first one was killed
    assert names(run) == ALL


# Stops


@pytest.mark.parametrize(("number", "micro_step"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_a_signal_in_a_step_finishes_the_update(flags, run, unbroken, capsys, number, micro_step):
    flags = [*flags, *EVERYTHING, "--checkpointing_steps=2", "--save_images_steps=2", "--validation_steps=2"]
    train([*flags, f"--output_dir={unbroken}"])
    before = signal.getsignal(number)
    train(flags, derive_seed=signal_in(number, 1, micro_step))
    assert signal.getsignal(number) == before
    assert f"Stopped by {number.name} after 2 updates. Continue with the same" in capsys.readouterr().out
    assert names(run) == ["checkpoint-2"] and not (run / "samples").exists()
    assert state(run / "checkpoint-2")["metrics"] == {}
    PokemonDDPMPipeline.from_pretrained(run)
    train([*flags, LATEST])  # also measures, and makes the sheet
    assert same(run, unbroken)


def interrupted_in(number: int, function: Callable) -> Callable:
    """A function in which SIGTERM arrives during its call of this number, when it asks `interrupted` a second time."""
    calls, questions = itertools.count(), itertools.count()

    def call(*arguments: object) -> object:
        *rest, interrupted = arguments

        def ask() -> bool:
            if next(questions) == 1:
                signal.raise_signal(signal.SIGTERM)
            return interrupted()

        return function(*rest, ask if next(calls) == number else interrupted)

    return call


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("during", ["sheet", "validation"])
def test_what_a_signal_interrupts_is_made_up_for(flags, run, unbroken, monkeypatch, during, step):
    monkeypatch.setattr(validation, "CHUNK", 1)
    flags = [*flags, "--checkpointing_steps=2", "--ddpm_num_inference_steps=3"]
    flags += ["--save_images_steps=2" if during == "sheet" else "--validation_steps=2"]
    train([*flags, f"--output_dir={unbroken}"])
    with monkeypatch.context() as patch:
        if during == "sheet":
            train(flags, save_sheet=interrupted_in(step // 2 - 1, save_sheet))
        else:  # in its second part
            measure = interrupted_in(step - 1, validation.LossProbe.measure)
            patch.setattr(validation.LossProbe, "measure", measure)
            train(flags)
    assert newest(run) == step and state(run / f"checkpoint-{step}")["metrics"] == {}
    assert not (run / "samples" / f"step-{step:06d}.png").exists()
    train([*flags, LATEST])
    assert same(run, unbroken)


def stalled(seed: int, purpose: int, *key: int) -> int:
    """`derive_seed` that takes minutes in a single call of a library, as a backward pass can."""
    if purpose == DROPOUT:
        print("stalled")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    return derive_seed(seed, purpose, *key)


def test_a_second_interrupt_ends_the_process_at_once(flags, run, tmp_path):
    train([*flags, "--max_train_steps=1"])
    before, output = contents(run / "checkpoint-1"), tmp_path / "output"
    with forked([*flags, LATEST], output, derive_seed=stalled) as process:
        wait_until(lambda: prints(output, "stalled"), process)
        end = time.monotonic() + TIMEOUT
        while process.is_alive() and time.monotonic() < end:  # two at once could count as one
            os.kill(process.pid, signal.SIGINT)
            process.join(0.2)
    assert process.exitcode == 128 + signal.SIGINT and not prints(output, "Traceback")
    assert contents(run / "checkpoint-1") == before and names(run) == ["checkpoint-1"]


def test_an_interrupt_during_the_imports_is_one_line():
    started = [sys.executable, str(SCRIPT), "--max_train_steps=1"]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        libraries = psutil.Process(process.pid).memory_maps
        while not any("libtorch" in each.path for each in libraries()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output, errors) == (130, "", "Interrupted before the first update.\n")


@pytest.mark.parametrize("how", ["SIGINT", "launcher"])
def test_a_process_is_stopped_from_outside(flags, run, tmp_path, how):
    output = tmp_path / "output"
    orphan = {"ORPHAN": "1", "ACCELERATE_MIXED_PRECISION": "no"} if how == "launcher" else None
    with forked([*flags, *ENDLESS, "--checkpointing_steps=1000000"], output, orphan) as process:
        wait_until(lambda: prints(output, "step 3 "), process)
        if how == "launcher":
            process.kill()
            end = time.monotonic() + TIMEOUT
            while not prints(output, "Stopped by") and time.monotonic() < end:
                time.sleep(0.02)
        else:
            os.kill(process.pid, signal.SIGINT)
            process.join(TIMEOUT)
            assert process.exitcode == 0
    reason = "the end of its launcher" if how == "launcher" else "SIGINT"
    assert prints(output, f"Stopped by {reason} after {newest(run)} updates.") and not prints(output, "Traceback")
    assert newest(run) >= 3 and (run / "model_index.json").is_file()


def test_two_processes_stop_at_the_same_update_and_are_resumed_exactly_after_a_kill(flags, run, tmp_path, unbroken):
    flags = [*flags, *EVERYTHING, "--train_batch_size=2"]
    endless = [*flags, *ENDLESS, "--lr_scheduler=constant_with_warmup", f"--output_dir={unbroken}"]
    with contextlib.ExitStack() as stack:
        first, second = two_processes(endless, tmp_path, stack)
        wait_until(lambda: prints(tmp_path / "rank-0", "step 6 "), first)
        second.terminate()
        for process in (first, second):
            process.join(TIMEOUT)
    assert (first.exitcode, second.exitcode) == (0, 0)
    steps = newest(unbroken)
    assert prints(tmp_path / "rank-0", f"Stopped by another process after {steps} updates.")
    again = [*flags, "--lr_scheduler=constant_with_warmup", f"--max_train_steps={steps}", LATEST]
    with contextlib.ExitStack() as stack:
        first, _ = two_processes(again, tmp_path, stack)
        wait_until(lambda: prints(tmp_path / "rank-0", "step 3 "), first)
    assert 2 <= newest(run) < steps
    with contextlib.ExitStack() as stack:
        processes = two_processes(again, tmp_path, stack)
        for process in processes:
            process.join(TIMEOUT)
    assert [process.exitcode for process in processes] == [0, 0]
    assert same(run / f"checkpoint-{steps}", unbroken / f"checkpoint-{steps}")


def killed_again_and_again(flags: list[str], run: Path, output: Path, times: int) -> None:
    moments = random.Random(0)
    for number in range(times):
        step = newest(run) + moments.randint(1, 4)
        with forked([*flags, LATEST], output) as process:
            wait_until(lambda step=step: prints(output, f"step {step} "), process)
            if number % 2:  # inside a save
                wait_until(lambda: any(name.startswith(".") for name in names(run)), process)
            else:
                time.sleep(moments.uniform(0, 0.05))
        assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_equals_an_unbroken_one(flags, run, unbroken, tmp_path, times):
    flags = [*flags, *AUGMENTED, "--checkpoints_total_limit=2", "--lr_scheduler=constant_with_warmup"]
    killed_again_and_again([*flags, "--max_train_steps=1000"], run, tmp_path / "output", times)
    end = f"--max_train_steps={newest(run) + 2}"
    train([*flags, end, LATEST])
    train([*flags, end, f"--output_dir={unbroken}"])
    assert same(run, unbroken)


def test_a_clone_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pokemon_ddpm.dataset_scripts", None)
    with pytest.raises(
        SystemExit, match=r"^Install the project first, in the folder of the clone: pip install -e \.$"
    ):
        train([])


@pytest.mark.slow
def test_accelerate_launch_trains_on_the_real_sprites(sprites_dir, sprites_cache, tmp_path, run):
    flags = [flag for flag in tiny_flags(tmp_path) if not flag.startswith(("--train_data", "--cache", "--dataset"))]
    flags += [f"--train_data_dir={sprites_dir}", f"--cache_dir={sprites_cache}", "--resolution=32"]
    flags += ["--max_train_steps=60", "--logging_steps=10", "--checkpointing_steps=60", "--learning_rate=2e-3"]
    launch = [Path(sys.executable).with_name("accelerate"), "launch", "--num_cpu_threads_per_process=1"]
    command = [*launch, SCRIPT, *flags, "--timestep_sampling=stratified", "--train_batch_size=32"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=2 * TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert "3,273 images of 32x32" in done.stdout
    losses = [float(value) for value in re.findall(r"loss (\S+)", done.stdout)]
    assert len(losses) == 6 and losses[-1] < 0.5 * losses[0]
    assert PokemonDDPMPipeline.from_pretrained(run)("fire", num_inference_steps=2).images[0].size == (32, 32)


# The Hub


@pytest.fixture
def pushing(flags) -> list[str]:
    hub = ["--push_to_hub", "--hub_model_id=ash/model", "--hub_private_repo", "--hub_token=hf_ash"]
    return [*flags, *hub, "--save_images_steps=4", "--checkpointing_steps=2"]


def test_the_model_is_pushed_with_every_checkpoint_and_at_the_end(hub, pushing, run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    train([*pushing, "--hub_strategy=every_save"])
    repository = hub.repository("ash/model")
    assert repository.private and repository.titles == ["Upload the model", "Update 2"]
    files = repository.files()
    assert "samples/step-000004.png" in files and not [
        name for name in files if "checkpoint" in name or ".lock" in name
    ]
    for name in files.keys() - {"README.md"}:
        assert files[name] == (run / name).read_bytes(), name
    for content in [*files.values(), *contents(run).values()]:
        assert b"hf_ash" not in content


def test_a_push_that_fails_costs_neither_the_run_nor_the_model(hub, pushing, run, capsys):
    hub.fail("/preupload/", 403, None)
    with pytest.raises(SystemExit) as stop:
        train([*pushing, "--hub_strategy=every_save"])
    assert "warning: The push to ash/model failed: the token may not write there." in capsys.readouterr().out
    message = str(stop.value)
    assert f"The model is safe in {run}; push it with `pokemon-ddpm push {run} ash/model`" in message
    assert names(run) == ["checkpoint-2", "checkpoint-4"] and (run / "model_index.json").is_file()


def test_a_repository_that_cannot_be_written_is_refused_before_training(hub, pushing, run):
    train([flag for flag in pushing if "hub" not in flag])
    before = contents(run)
    with pytest.raises(SystemExit, match="^error: Creating misty/model failed: the token may not write there"):
        train([*pushing, "--hub_model_id=misty/model", OVERWRITE])
    assert contents(run) == before
