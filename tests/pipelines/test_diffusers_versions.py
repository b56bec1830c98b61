"""A saved model with earlier versions of diffusers, each installed beside the other packages of this environment."""

import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
import torch

from tests.tiny_models import seeded, tiny_pipeline

# diffusers -> what it needs of the packages that have changed since.
VERSIONS = {
    "0.33.1": ("huggingface_hub==0.36.0", "transformers==4.56.2", "tokenizers==0.22.1"),
    "0.36.0": ("huggingface_hub==0.36.0", "transformers==4.56.2", "tokenizers==0.22.1"),
}
PROGRAM = """
import sys
import diffusers
import torch

assert diffusers.__version__ == sys.argv[2]
pipeline = diffusers.DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
generators = [torch.Generator().manual_seed(0)]
torch.save(pipeline(["fire"], num_inference_steps=2, generator=generators, output_type="latent").images, "images.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_it_loads_and_samples_the_same(version: str, tmp_path: Path) -> None:
    pipeline = tiny_pipeline(channels=4)
    pipeline.save_pretrained(tmp_path / "model")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site_packages,) = (tmp_path / "venv").glob("lib/*/site-packages")
    # Editable installations are not found through a .pth file.
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    packages = [f"diffusers=={version}", *VERSIONS[version]]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *packages], check=True)
    command = [python, "-c", PROGRAM, tmp_path / "model", version]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pokemon_ddpm" not in done.stderr and "annotation" not in done.stderr
    arguments = {"num_inference_steps": 2, "generator": seeded(0), "output_type": "latent"}
    torch.testing.assert_close(
        torch.load(tmp_path / "images.pt"), pipeline(["fire"], **arguments).images, rtol=0, atol=1e-4
    )
