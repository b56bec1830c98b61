"""The training script as a command, the way a user starts it."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training.config import TrainingConfig
from tests.loopback_hub import LoopbackHub, environment
from tests.training_runs import ROOT, TINY_NETWORK, command, logged, train

SCRIPT = ROOT / "train_conditional.py"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY_NETWORK))
    return path


def test_the_loss_falls_on_the_real_sprites(sprites_dir: Path, sprites_cache: Path, network: Path) -> None:
    run = network.parent / "run"
    done = command(
        "accelerate", "launch", SCRIPT, "--train_data_dir", sprites_dir, "--cache_dir", sprites_cache,
        "--resolution", 32, "--model_config_name_or_path", network, "--output_dir", run, "--max_train_steps", 60,
        "--lr_warmup_steps", 10, "--learning_rate", "2e-3", "--report_to", "tensorboard", "--logging_steps", 10,
        "--timestep_sampling", "stratified", "--num_cpu_threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3,273 pictures of 32x32" in done.stdout
    losses = logged(run, "loss")
    # An untrained network answers about 0, which costs the mean of the weighted |v|^2; half of that is soon reached.
    assert len(losses) == 6 and losses[-1] < 0.5 * losses[0] and losses == sorted(losses, reverse=True)
    pipeline = PokemonDDPMPipeline.from_pretrained(run)
    assert pipeline("fire", num_inference_steps=2).images[0].size == (32, 32)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--lerning_rate", "1e-4"], "unknown argument --lerning_rate. Did you mean --learning_rate?"),
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--resolution", "30"], "resolution must be a positive multiple of 8"),
        (["--train_data_dir", "/nowhere"], "/nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_message_and_no_traceback(flags: list[str], said: str, tmp_path: Path) -> None:
    done = command("python", SCRIPT, "--output_dir", tmp_path / "run", *flags)
    assert done.returncode in (1, 2)
    assert said in done.stderr and "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 3
    assert not list(tmp_path.glob("run/*"))


@pytest.mark.parametrize("sampling", ["uniform", pytest.param("loss_second_moment", marks=pytest.mark.slow)])
def test_two_processes_and_accumulation_train_like_one(
    network: Path, sprites_cache: Path, tmp_path: Path, sampling: str
) -> None:
    """Without dropout: 64 pictures, twice 32 at once, and twice 32 one after the other; the same up to rounding."""
    network.write_text(json.dumps({**TINY_NETWORK, "dropout": 0.0}))
    common = [
        f"--model_config_name_or_path={network}", f"--cache_dir={sprites_cache}", "--resolution=16",
        "--max_train_steps=6", "--lr_warmup_steps=2", "--logging_steps=1", "--report_to=tensorboard",
        "--save_images_steps=0", "--validation_steps=6", "--num_cpu_threads=1", f"--timestep_sampling={sampling}",
        "--ddpm_num_steps=10", "--ddpm_num_inference_steps=5",
    ]  # fmt: skip
    one, two, accumulated = (tmp_path / name for name in ("one", "two", "accumulated"))
    train([*common, f"--output_dir={one}", "--train_batch_size=64"])
    train([*common, f"--output_dir={accumulated}", "--train_batch_size=32", "--gradient_accumulation_steps=2"])
    together = command(
        "torchrun", "--standalone", "--nproc_per_node", 2, SCRIPT, *common, "--output_dir", two,
        "--train_batch_size", 32, ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    assert together.returncode == 0, together.stderr
    # Warm-up and decay are counted in updates; logged is the learning rate of the one that follows.
    peak = TrainingConfig().learning_rate
    rates = [peak * factor for factor in (0.5, 1.0, *((1 + math.cos(math.pi * i / 4)) / 2 for i in (1, 2, 3, 4)))]
    for run in (one, two, accumulated):
        assert logged(run, "images_seen") == [64 * step for step in range(1, 7)]
        assert logged(run, "lr") == pytest.approx(rates, rel=1e-6)
        for name, rel in (("loss", 1e-4), ("grad_norm", 1e-3), ("validation_loss", 1e-4)):
            assert logged(run, name) == pytest.approx(logged(one, name), rel=rel), name


class TestPush:
    @pytest.fixture
    def words(self, network: Path, sprites_cache: Path, tmp_path: Path) -> list[object]:
        return [
            "python", SCRIPT, "--model_config_name_or_path", network, "--cache_dir", sprites_cache, "--resolution", 16,
            "--max_train_steps", 1, "--save_images_steps", 0, "--output_dir", tmp_path / "run", "--push_to_hub",
            "--hub_model_id", "ash/sprites", "--hub_token", "hf_secret",
        ]  # fmt: skip

    def push(self, words: list[object], hub: LoopbackHub, home: Path) -> subprocess.CompletedProcess:
        return command(*words, **environment(home, hub.endpoint))

    def test_the_pipeline_arrives(self, words: list[object], tmp_path: Path) -> None:
        with LoopbackHub(tokens={"hf_secret": "ash"}) as hub:
            done = self.push(words, hub, tmp_path / "home")
        assert done.returncode == 0, done.stderr
        files = hub.repository("ash/sprites").files()
        here = (tmp_path / "run" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        assert files["unet/diffusion_pytorch_model.safetensors"] == here
        assert {"model_index.json", "pipeline.py", "conditioner/sprite_conditioner.py"} <= files.keys()
        assert not [name for name in files if "checkpoint" in name or "optimizer" in name]
        assert b"hf_secret" not in b"".join(files.values())
        assert "hf_secret" not in (tmp_path / "run" / "training_config.json").read_text()

    def test_no_right_to_write_is_said_before_training(self, words: list[object], tmp_path: Path) -> None:
        with LoopbackHub(tokens={"hf_secret": "misty"}) as hub:
            done = self.push(words, hub, tmp_path / "home")
        assert done.returncode != 0
        assert done.stderr.startswith("error: Making ash/sprites failed: the token may not write there")
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.glob("run/*")) and not hub.repositories


def test_from_a_clone_that_is_not_installed_it_says_so(tmp_path: Path) -> None:
    """A clone hides the mapping of an installed wheel; the script then says what to do."""
    for name in ("train_conditional.py", "pokemon_ddpm"):
        (tmp_path / name).symlink_to(ROOT / name)
    code = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()];"
        f"sys.path.insert(0, {str(tmp_path)!r}); import runpy; runpy.run_path({str(tmp_path / SCRIPT.name)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Install the project first, in the clone's folder: pip install -e .\n"
