"""Whole runs of the training script: what they leave, exact resuming, stops and kills, divergence, and the Hub."""

import copy
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from pokemon_ddpm import PokemonDDPMPipeline, load_sprites
from pokemon_ddpm.diffusion import sampler_name
from pokemon_ddpm.pipelines.sampling import is_distilled
from pokemon_ddpm.training import batches, checkpoint
from pokemon_ddpm.training.losses import DistillationLoss
from tests.labelled_images import folder_of_classes, parquet
from tests.tiny_models import tiny_pipeline, tiny_student
from tests.training import runs
from tests.training.runs import LATEST, contents, exit_codes, forked, names, prints, same, state, train

OVERWRITE = "--overwrite_output_dir"
ENDLESS = ["--max_train_steps=1000000", "--lr_scheduler=constant_with_warmup", "--max_train_seconds=600"]


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return runs.tiny_flags(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"  # the output folder of `flags`


@pytest.fixture
def unbroken(tmp_path: Path) -> Path:
    return tmp_path / "unbroken" / "run"  # with the same name, which is the title of the model card


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with `flags`, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    train(runs.tiny_flags(folder))
    return folder / "run"


def weights(run: Path, file: str = "model", step: int = 4) -> bytes:
    return (run / f"checkpoint-{step}" / f"{file}.safetensors").read_bytes()


def newest(run: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in run.glob("checkpoint-*")), default=0)


def test_an_update_is_that_of_adamw_by_hand(tmp_path):
    """With clipping and a learning rate of their own, and then the average of the weights."""
    more = ["--train_batch_size=32", "--lr_warmup_steps=0", "--adam_weight_decay=0.3", "--ema_decay=0.05"]
    with runs.trainer([*runs.tiny_flags(tmp_path, dropout=0.0), *more], MAX_GRAD_NORM=0.02) as run:
        for group in run.optimizer.param_groups:  # those of tags, too
            group |= {"lr_factor": 2.0, "eps": 1e-3}  # so that rounding of tiny gradients does not count
        model = run.tensors.model
        twin, averages = copy.deepcopy(model), None
        adamw = torch.optim.AdamW(twin.parameters(), lr=1, weight_decay=0.3, eps=1e-3)
        for step in range(2):
            adamw.param_groups[0]["lr"] = 2 * run.learning_rate
            loss = run.losses(twin, batches.sample_batch(run.data, twin.conditioner, run.config, step, 32)).mean()
            adamw.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.02)
            adamw.step()
            assert norm > 0.02
            torch.testing.assert_close(run.train_step(), (loss.detach(), norm))
            both = (model, twin)
            ours, theirs = (torch.cat([p.detach().flatten() for p in network.parameters()]) for network in both)
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
            averages = theirs if averages is None else 0.05 * averages + 0.95 * theirs  # of the first update alone
            torch.testing.assert_close(torch.cat([p.flatten() for p in run.tensors.ema.shadow_params]), averages)


def test_the_output_folder_is_a_pipeline_with_card_sheets_and_checkpoints(flags, run, finished, capsys):
    train([*flags, "--save_images_steps=2", "--validation_steps=3"])
    images = PokemonDDPMPipeline.from_pretrained(run)(["fire", "water/flying"]).images
    assert [(image.mode, image.size) for image in images] == [("RGBA", (16, 16))] * 2
    assert sorted(path.name for path in run.glob("samples/*")) == [f"step-00000{step}.png" for step in (2, 4)]
    card = (run / "README.md").read_text()
    assert "4 updates" in card and "samples/step-000004.png" in card and str(run) not in card
    metrics = [set(state(run / f"checkpoint-{step}")["metrics"]) for step in (1, 2, 3, 4)]
    assert metrics == [set(), set(), *[{"validation_loss", "train_split_loss"}] * 2]  # the last update always
    output = capsys.readouterr().out
    assert output.startswith("1 process on cpu (fp32).\n")
    assert "4 images of 16x16, conditioned on" in output and "batch size 8, 4 updates." in output
    lines = re.findall(r"^step (\d)  loss [\d.]+ .* lr (\S+)  skipped_updates 0  images_seen (\d+)$", output, re.M)
    # The learning rate is that of the update that follows.
    assert lines == [("1", "0.0005", "8"), ("2", "0.001", "16"), ("3", "0.0005", "24"), ("4", "0", "32")]
    assert re.search(r"^step 4  validation_loss [\d.]+  train_split_loss [\d.]+$", output, re.M)
    # Measuring changes nothing.
    assert all(weights(run, file) == weights(finished, file) for file in ("model", "ema", "optimizer"))


def test_kinds_of_data(tmp_path, run, finished):
    for split, count in (("train", 6), ("validation", 2)):
        folder_of_classes(tmp_path / "fruit" / split, {"apple": count, "pear": count})
    flags = [*runs.without(runs.tiny_flags(tmp_path), "train_data_dir", "dataset_config_name"), OVERWRITE]
    train([*flags, f"--train_data_dir={tmp_path / 'fruit'}", "--validation_steps=4", "--report_to=tensorboard"])
    assert PokemonDDPMPipeline.from_pretrained(run).conditioner.vocabulary == {"type": ["apple", "pear"]}
    assert list((run / "logs").rglob("events.*"))
    own = load_sprites(runs.shared() / "small", "all")["train"]
    parquet(tmp_path / "own", train=own)
    train([*flags, f"--dataset_name={tmp_path / 'own'}"])
    assert weights(finished) == weights(run) and not (run / "logs").exists()  # of the run that was overwritten


def test_a_wrong_flag_is_refused_before_torch_is_imported():
    start = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path('{runs.SCRIPT}', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", start, "--train_batch_size=0"], capture_output=True, text=True)
    assert done.returncode == 2 and "error: --train_batch_size must be" in done.stderr


MISTAKES = [
    ([OVERWRITE, "--train_data_dir=/nowhere"], "/nowhere does not exist"),
    ([OVERWRITE, "--conditions", "type", "shape"], "the training images do not differ in shape"),
    (["--mixed_precision=fp16"], "fp16 needs a GPU"),
    (["--report_to=clearml"], "--report_to clearml: clearml is not installed. Install it with: pip install clearml"),
    (["--resume_from_checkpoint=checkpoint-7"], "there is no checkpoint-7; checkpoints in .*: checkpoint-1, "),
    ([LATEST, "--dataset_config_name=front"], "the checksum of the training images and labels was .*, now"),
    ([], "already contains a run"),
]


def test_a_mistake_is_one_sentence_and_changes_nothing_of_an_older_run(flags, run, finished):
    shutil.copytree(finished, run)
    before = contents(run)
    for wrong, message in MISTAKES:
        with pytest.raises(SystemExit, match=f"^error: .*{message}") as stop:
            train([*flags, *wrong])
        assert len(str(stop.value).splitlines()) == 1 and contents(run) == before, wrong


def test_a_student_and_its_teacher(flags, run, finished, tmp_path):
    teacher = PokemonDDPMPipeline.from_pretrained(finished)
    assert sampler_name(teacher.scheduler) == "sde-dpmsolver++" and teacher.config.guidance_scale == 3
    teacher.save_pretrained(tmp_path / "teacher")
    flags = runs.without(flags, "model_config_name_or_path", "ddpm_num_inference_steps")
    flags = [*flags, f"--distill_from={tmp_path / 'teacher'}", "--distill_teacher_steps=8"]
    train(flags)
    student = PokemonDDPMPipeline.from_pretrained(run)
    assert is_distilled(student.scheduler)
    assert (student.config.num_inference_steps, student.config.guidance_scale) == (4, 1)
    teacher.unet.conv_out.bias.data += 1
    teacher.save_pretrained(tmp_path / "teacher")
    with pytest.raises(SystemExit, match="the checksum of the weights of its teacher or guides was "):
        train([*flags, LATEST])
    with runs.trainer([*flags, f"--output_dir={tmp_path / 'other'}"]) as trainer:
        trainer.train_step()
        assert type(trainer.losses) is DistillationLoss
        assert not any(module.training for module in trainer.tensors.model.unet.modules())  # without dropout


def test_own_classes_fine_tune_a_pretrained_model(flags, run, finished, tmp_path, capsys):
    art = folder_of_classes(tmp_path / "fruit", {"apple": 12, "pear": 12})
    files = [f"{name}/{i:03d}.png" for name in ("apple", "pear") for i in range(12)]
    rows = [f"{file},{('front', 'back')[i % 2]}" for i, file in enumerate(files)]
    (art / "metadata.csv").write_text("\n".join(["file_name,view", *rows]))
    replaced = ("model_config_name_or_path", "train_data_dir", "dataset_config_name", "validation_steps")
    flags = [*runs.without(flags, *replaced), f"--train_data_dir={art}", f"--pretrained_model_name_or_path={finished}"]
    (license_file := Path(finished) / "LICENSE").write_text("terms of the weights")
    train([*flags, "--learning_rate=1e-30"])
    assert license_file.read_text() == (Path(run) / "LICENSE").read_text()
    license_file.unlink()
    assert re.search(r"^Of 32 samples \d+ are near a training image", capsys.readouterr().out, re.M)
    continued, trained = (PokemonDDPMPipeline.from_pretrained(folder) for folder in (run, finished))
    assert continued.conditioner.vocabulary == {"type": ["apple", "pear"], "view": ["front", "back"]}
    assert continued.config.default_conditions == {"view": "front"}
    pairs = zip(continued.unet.parameters(), trained.unet.parameters(), strict=True)
    assert all(torch.allclose(*pair, rtol=0, atol=1e-6) for pair in pairs)


def signal_in(number: int, step: int, micro_step: int = 0):
    """`derive_seed`, during which a signal arrives when the given step needs random numbers for dropout."""

    def derive(seed: int, purpose: int, *key: int) -> int:
        if purpose == batches.NETWORK and key == (step, 0, micro_step):
            signal.raise_signal(number)
        return batches.derive_seed(seed, purpose, *key)

    return derive


EVERYTHING = [*runs.AUGMENTED, "--class_balance=0.5", "--optimizer=muon", "--train_batch_size=4"]
EVERYTHING += ["--gradient_accumulation_steps=2"]
WAYS = {
    "fp32": [],
    "learned variance": ["--variance_type=learned_range", "--mixed_precision=bf16", "--no_use_ema"],
    "autoguidance": [*EVERYTHING, "--autoguidance_scale=3"],
    "adversarial": ["--ddpm_num_inference_steps=4", "--adversarial_steps=3"],
}
OTHER_MODELS = ("autoguidance", "adversarial")  # those that need them


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_stopped_again_and_again_equals_an_unbroken_one(flags, run, unbroken, tmp_path, capsys, way):
    """Stopped in an update, whose measurement and sheet are made before the run ends."""
    if way in OTHER_MODELS:
        for name, std in {"pretrained_model_name_or_path": 0.2, f"{way}_from": 0.1}.items():
            pipeline = tiny_pipeline("sample", channels=4)
            if way == "adversarial" and std == 0.2:
                pipeline = tiny_student(16)
            torch.nn.init.normal_(pipeline.unet.conv_out.weight, std=std)
            pipeline.save_pretrained(tmp_path / name)
            flags = [*flags, f"--{name}={tmp_path / name}"]
        flags = runs.without(flags, "model_config_name_or_path")
        flags += ["--conditions", "type"] if way == "autoguidance" else []
    flags = [*flags, *WAYS[way], "--validation_steps=2", "--save_images_steps=2"]
    train([*flags, f"--output_dir={unbroken}"])
    for step in range(4) if way == "fp32" else (1,):
        number = (signal.SIGINT, signal.SIGTERM)[step % 2]
        micro_step = flags.count("--gradient_accumulation_steps=2")
        train([*flags, LATEST], derive_seed=signal_in(number, step, micro_step))
        assert newest(run) == step + 1
        message = f"Stopped by {number.name} after {step + 1} updates. Continue with the same command and"
        assert (message in capsys.readouterr().out) == (step < 3)
    train([*flags, LATEST])
    assert same(run, unbroken)


def test_a_batch_can_be_divided_over_accumulation_and_processes(tmp_path):
    """Without dropout in the network; the results agree up to rounding."""
    flags = [*runs.tiny_flags(tmp_path, dropout=0.0), "--train_batch_size=32", "--validation_steps=4"]
    halves = [*flags, "--train_batch_size=16"]
    one, accumulated, two = (tmp_path / name for name in ("one", "accumulated", "two"))
    train([*flags, f"--output_dir={one}"])
    train([*halves, f"--output_dir={accumulated}", "--gradient_accumulation_steps=2"])
    with runs.two_processes([*halves, f"--output_dir={two}"], tmp_path) as processes:
        assert exit_codes(*processes) == [0, 0] and prints(tmp_path / "rank-0", "2 processes on cpu (fp32).")
    expected, metrics = load(weights(one)), state(one / "checkpoint-4")["metrics"]
    for run in (accumulated, two):
        for name, tensor in load(weights(run)).items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-3)
        assert state(run / "checkpoint-4")["metrics"] == pytest.approx(metrics, rel=1e-3)


def test_a_full_disk_costs_checkpoints_but_not_the_run(flags, run, finished, monkeypatch, capsys):
    flags, save = [*flags, "--checkpoints_total_limit=2"], checkpoint.save_checkpoint
    size, limits = resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_or_fail(output_dir: Path, of: checkpoint.TrainingState, *rest: object) -> None:
        resource.setrlimit(size, (10_000, limits[1]) if of.step in (2, 4) else limits)
        try:
            save(output_dir, of, *rest)
        finally:
            resource.setrlimit(size, limits)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", save_or_fail)
        train(flags)
    warning = rf"warning: {run}/checkpoint-[24] could not be written \(.*File too large.*\)\. The run continues\."
    assert len(re.findall(warning, capsys.readouterr().out)) == 2 and names(run) == ["checkpoint-1", "checkpoint-3"]
    PokemonDDPMPipeline.from_pretrained(run)
    train([*flags, LATEST])
    assert same(run / "checkpoint-4", finished / "checkpoint-4")


def test_latest_names_damaged_checkpoints_and_passes_over_them(flags, run, finished, capsys):
    first = "model.safetensors"
    shutil.copytree(finished, run)
    (run / "checkpoint-4" / first).unlink(), (run / "checkpoint-3" / "ema.safetensors").write_bytes(b"?")
    train([*flags, LATEST])
    output = capsys.readouterr().out
    for name in (f"checkpoint-4/{first}", "checkpoint-3/ema.safetensors"):
        assert re.search(rf"^warning: {run}/{name} is damaged, .* Trying the one before\.$", output, re.M)
    assert f"Resuming from {run}/checkpoint-2." in output and same(run, finished)
    (run / "checkpoint-4" / first).unlink()
    with pytest.raises(SystemExit, match=f"^error: {run}/checkpoint-4/{first} is damaged"):
        train([*flags, "--resume_from_checkpoint=checkpoint-4"])


def test_a_sheet_and_a_tracker_that_fail_are_warnings(flags, run, finished, monkeypatch, capsys):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no login")

    for name in ("init_trackers", "log", "end_training"):
        monkeypatch.setattr(f"accelerate.Accelerator.{name}", fail)
    monkeypatch.setattr("pokemon_ddpm.generation.save_type_sheet", fail)
    train([*flags, "--save_images_steps=2"])
    assert capsys.readouterr().out.count("warning: no login. The run continues.") == 1 + 4 + 2 + 1
    assert weights(run) == weights(finished) and (run / "model_index.json").is_file()


def test_updates_that_are_not_finite_are_skipped_and_too_many_end_the_run(flags, run, capsys):
    train(flags, sample_batch=runs.nan_in(2, 3))
    assert [state(run / name)["skipped_updates"] for name in names(run)] == [0, 0, 1, 2]
    assert weights(run) == weights(run, step=2) and (run / "model_index.json").is_file()
    flags = [*flags, "--resume_from_checkpoint=checkpoint-3", "--max_train_steps=20", "--checkpointing_steps=9"]
    with pytest.raises(SystemExit, match="^error: Update 13: 11 updates were NaN or infinite. Go back to an earlier"):
        train(flags, sample_batch=runs.nan_in(*range(3, 20)))  # one was before
    assert "raise ValueError(" in (run / "error.log").read_text()
    train([*flags, "--learning_rate=0.0001", "--lr_warmup_steps=5", "--max_train_seconds=1e-9"])
    assert "The next checkpoint replaces checkpoint-4, checkpoint-9." in capsys.readouterr().out
    assert names(run)[-1] == "checkpoint-4"  # so `latest` does not return to the diverged weights


@pytest.mark.parametrize("file", ["model", "optimizer", "ema"])
def test_what_is_not_finite_is_never_saved(tmp_path, file):
    with runs.trainer(runs.tiny_flags(tmp_path)) as run:
        run.train_step(), run.save_checkpoint(), run.train_step()
        tensor = [tensor for tensor in run.tensors.files()[f"{file}.safetensors"].values() if tensor.dim()][-1].data
        tensor.view(-1)[-1] = torch.inf
        with pytest.raises(ValueError, match="^Update 2: the weights are not finite, and are not saved. Go back"):
            run.save_checkpoint()
    assert names(tmp_path / "run") == ["checkpoint-1"]


def stalled(seed: int, purpose: int, *key: int) -> int:
    """`derive_seed` that is interrupted, then takes minutes in a call of a library, as a backward pass can."""
    if purpose == batches.NETWORK:
        signal.raise_signal(signal.SIGINT)
        print("stalled")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    return batches.derive_seed(seed, purpose, *key)


def test_a_second_interrupt_ends_the_process_at_once(flags, run, tmp_path):
    output = tmp_path / "output"
    with forked(flags, output, derive_seed=stalled) as process:
        runs.wait_until(lambda: prints(output, "stalled"), process)
        os.kill(process.pid, signal.SIGINT)
        assert exit_codes(process) == [-signal.SIGINT] and not prints(output, "Traceback")
    assert names(run) == []


def test_a_second_run_in_the_same_folder_is_refused(flags, run, tmp_path):
    output = tmp_path / "output"
    with forked([*flags, *ENDLESS, "--checkpointing_steps=1000000"], output) as first:
        runs.wait_until(lambda: prints(output, "step 2 "), first)
        before = contents(run)
        for more in ([], [OVERWRITE], [LATEST]):
            with pytest.raises(SystemExit, match="in use by another run. Wait for it, or stop it."):
                train([*flags, *more])
            assert contents(run) == before and first.is_alive()
    train([*flags, OVERWRITE])  # a killed run leaves no lock


def test_the_end_of_its_launcher_stops_a_process(flags, run, tmp_path):
    output, launched = tmp_path / "output", {"LAUNCHER": "1", "ACCELERATE_MIXED_PRECISION": "no"}
    with forked([*flags, *ENDLESS, "--checkpointing_steps=1000000"], output, launched) as process:
        runs.wait_until(lambda: prints(output, "step 3 "), process)
        process.terminate()  # the launcher has no handler for it
        runs.wait_until(lambda: prints(output, "Stopped by the end of its launcher after"))
    assert not prints(output, "Traceback")
    assert newest(run) >= 3 and (run / "model_index.json").is_file()


def test_two_processes_stop_at_the_same_update_and_are_resumed_exactly_after_a_kill(flags, run, tmp_path, unbroken):
    flags, output = [*flags, *EVERYTHING, "--train_batch_size=2", *ENDLESS], tmp_path / "rank-0"
    with runs.two_processes([*flags, f"--output_dir={unbroken}"], tmp_path) as (first, second):
        runs.wait_until(lambda: prints(output, "step 6 "), first)
        second.terminate()
        assert exit_codes(first, second) == [0, 0]
    steps = newest(unbroken)
    assert prints(output, f"Stopped by another process after {steps} updates.")
    with runs.two_processes(flags, tmp_path) as (first, _):
        runs.wait_until(lambda: prints(output, "step 3 "), first)
    for path in run.glob("checkpoint-*"):  # if it was killed late
        shutil.rmtree(path) if int(path.name.split("-")[1]) >= steps else None
    with runs.two_processes([*flags, f"--max_train_steps={steps}", LATEST], tmp_path) as processes:
        assert exit_codes(*processes) == [0, 0] and prints(output, "Resuming from")
    assert same(run / f"checkpoint-{steps}", unbroken / f"checkpoint-{steps}")


@pytest.fixture
def pushing(flags) -> list[str]:
    hub = ["--push_to_hub", "--hub_model_id=ash/model"]
    return [*flags, *hub, "--save_images_steps=4", "--checkpointing_steps=2"]


def test_the_model_is_pushed_at_the_end(hub, pushing, run):
    train(pushing)
    repository = hub.repository("ash/model")
    assert repository.titles == ["Upload the model"]
    files = repository.files()
    assert "samples/step-000004.png" in files and not re.search("checkpoint", " ".join(files))
    assert all(files[name] == (run / name).read_bytes() for name in files.keys() - {"README.md"})


def test_a_push_that_fails_costs_neither_the_run_nor_the_model(hub, pushing, run):
    hub.failures["/preupload/"] = 403
    with pytest.raises(SystemExit, match="^error: The push to ash/model failed"):
        train(pushing)
    assert names(run) == ["checkpoint-2", "checkpoint-4"] and (run / "model_index.json").is_file()
    before = contents(run)
    with pytest.raises(SystemExit, match="^error: Creating misty/model failed: .*hf auth login"):
        train([*pushing, "--hub_model_id=misty/model", OVERWRITE])
    assert contents(run) == before
