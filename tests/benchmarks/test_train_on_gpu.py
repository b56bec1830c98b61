import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pokemon_ddpm import PokemonDDPMPipeline
from tests.small_archives import write_small_archive
from tests.test_package import ROOT
from tests.training.runs import NETWORK

SHORT = "--train_batch_size 2 --mixed_precision no --compile false --num_cpu_threads 1 --checkpointing_steps 1"
SHORT += " --resolution 16 --lr_warmup_steps 1 --validation_steps 0 --save_images_steps 0 --ddpm_num_inference_steps 1"
SHORT += " --reference_prob 0"  # which needs a network with room for one


@pytest.mark.slow
def test_both_networks_are_trained_and_continued(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(NETWORK))
    command = [
        "bash",
        ROOT / "benchmarks" / "train_on_gpu.sh",
        write_small_archive(tmp_path / "small"),
        tmp_path / "gpu",
    ]
    flags = [*SHORT.split(), "--model_config_name_or_path", tmp_path / "tiny.json", "--cache_dir", tmp_path / "cache"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for steps in ("1", "2"):
        subprocess.run(
            [*command, "40", *flags, "--max_train_steps", steps], env={**os.environ, "PATH": path}, check=True
        )
    for network in ("packed", "base"):
        folder = tmp_path / "gpu" / network
        assert sorted(each.name for each in folder.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
        assert PokemonDDPMPipeline.from_pretrained(folder).sample_shape == (4, 16, 16)
