"""The card of a training run: what it was trained on and how, whose the pictures are, and nothing of the machine."""

import re

import pytest
import yaml
from huggingface_hub import ModelCard

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.training.card import run_card
from pokemon_ddpm.training.config import TrainingConfig
from tests.conftest import tiny_pipeline
from tests.labelled_pictures import folder_of_classes
from tests.training_runs import tiny_flags, train

METRICS = {"validation_loss": 0.0398123456, "train_split_loss": 0.0329}
RESEARCH = ("other", "research-and-education-only")


def written(name: str = "ash/model", metrics: dict | None = None, **settings: object) -> str:
    """The card of a run with these settings."""
    config = TrainingConfig(**settings)
    return run_card(tiny_pipeline(), config, name, 1234, {"training": 3273, "validation": 1007}, metrics or {}).content


def metadata(text: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def licence(text: str) -> tuple[str | None, str | None]:
    data = metadata(text)
    return data.get("license"), data.get("license_name")


def settings(text: str) -> dict[str, str]:
    """The table of the configuration."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text.split("## Training")[1], re.MULTILINE))


class TestLicence:
    @pytest.mark.parametrize(
        "data",
        [
            {"train_data_dir": "/data/archive"},
            {"train_data_dir": "/data/archive.zip", "dataset_config_name": "all"},
            {"dataset_name": "misty/pokemon-sprites"},
            {"dataset_name": "misty/pokemon-sprites", "dataset_config_name": "all"},
        ],
    )
    def test_of_the_sprites(self, data):
        text = written(**data)
        assert licence(text) == RESEARCH
        for credited in ("Research and education only", "Nintendo", "Smogon", "Yehong Jiang", "PokéAPI", "trademarks"):
            assert credited in text, credited

    def test_of_the_starter_set(self):
        text = written()
        assert licence(text) == ("apache-2.0", None)
        assert (
            "On the starter sprites of the project: 3,273 training, 1,007 validation pictures. 1,234 updates." in text
        )
        assert "Nintendo" not in text

    def test_of_own_pictures_it_is_not_for_the_program_to_say(self, tmp_path):
        folder = folder_of_classes(tmp_path / "fruit", {"apple": 1, "pear": 1})
        for data in ({"train_data_dir": str(folder)}, {"dataset_name": str(tmp_path), "label_column": "kind"}):
            text = written(**data)
            assert licence(text) == (None, None) and "Nintendo" not in text
            assert "of the one who trained them, who says here what may be done" in text

    def test_of_pictures_from_the_hub(self):
        text = written(dataset_name="misty/fruit", label_column="kind")
        assert licence(text) == (None, None)
        assert "trained on pictures of misty/fruit; what its licence says" in text

    @pytest.mark.parametrize("base", [RELEASED_MODEL, "pokemon-ddpm-32"])
    @pytest.mark.parametrize("how", ["pretrained_model_name_or_path", "distill_from"])
    def test_that_of_the_model_it_began_with_goes_on(self, tmp_path, base, how):
        """Weights do not become free by some updates on other pictures."""
        steps = {"distill_teacher_steps": 8, "distill_guidance_scale": 2.0} if how == "distill_from" else {}
        folder = folder_of_classes(tmp_path / "fruit", {"apple": 1, "pear": 1})
        for data in ({}, {"train_data_dir": str(folder)}, {"train_data_dir": "/data/archive"}):
            text = written(**{how: base}, **data, **steps)
            assert licence(text) == RESEARCH, data
            assert "began as those of pokemon-ddpm-32, whose licence and credits hold for them, too" in text
            assert "under its Apache 2.0" not in text and "who says here" not in text

    def test_a_base_on_the_hub_is_named(self):
        text = written(pretrained_model_name_or_path="misty/model")
        assert metadata(text)["base_model"] == "misty/model" and licence(text) == (None, None)
        assert "began as those of misty/model, whose licence" in text

    def test_a_base_without_a_licence(self, tmp_path):
        (tmp_path / "README.md").write_text("---\na: [\n---\n")
        text = written(pretrained_model_name_or_path=str(tmp_path))
        assert licence(text) == (None, None) and "base_model" not in metadata(text)


class TestTraining:
    def test_what_was_set_is_told(self):
        told = settings(written(resolution=64, snr_gamma=0.0, random_flip=True, num_epochs=7, seed=3))
        assert told == {
            "resolution": "64",
            "random_flip": "True",
            "prediction_type": "v_prediction",
            "ddpm_beta_schedule": "squaredcos_cap_v2",
            "snr_gamma": "0.0",
            "train_batch_size": "32",
            "num_epochs": "7",
            "learning_rate": "0.0006",
            "seed": "3",
        }

    def test_nothing_of_the_machine_and_no_token(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data").mkdir()
        network = tmp_path / "my" / "network.json"
        text = written(
            metrics=METRICS,
            dataset_name=str(tmp_path / "data"),
            label_column="kind",
            cache_dir=str(tmp_path / "cache"),
            output_dir=str(tmp_path / "run"),
            model_config_name_or_path=str(network),
            push_to_hub=True,
            hub_model_id="ash/model",
            hub_token="hf_ash",
            report_to="wandb",
            num_cpu_threads=3,
        )
        for secret in (str(tmp_path), "hf_ash", "cache", "wandb", "num_cpu"):
            assert secret not in text, secret
        assert settings(text)["model_config_name_or_path"] == "network.json" and "On data: " in text
        for path in ("data", "./data", "../elsewhere/data", "~/data", "/elsewhere/data"):
            text = written(metrics=METRICS, dataset_name=path, label_column="kind")
            assert "datasets" not in metadata(text) and "On data: " in text
            assert metadata(text)["model-index"][0]["results"][0]["dataset"] == {"name": "data", "type": "data"}

    def test_a_name_on_the_hub_is_told_whole(self):
        text = written(dataset_name="misty/fruit", label_column="kind", pretrained_model_name_or_path="misty/model")
        assert metadata(text)["datasets"] == ["misty/fruit"] and "On misty/fruit: " in text
        assert settings(text)["pretrained_model_name_or_path"] == "misty/model"

    def test_a_student_names_its_teacher(self):
        text = written(distill_from="/somewhere/teacher", distill_teacher_steps=8, distill_guidance_scale=2.5)
        assert "A student of teacher: two of its 8 steps in one, its guidance of 2.5 folded in" in text
        assert "/somewhere" not in text
        assert "A student of misty/model: " in written(
            distill_from="misty/model", distill_teacher_steps=8, distill_guidance_scale=2.0
        )

    def test_metrics_are_in_the_hubs_form(self):
        text = written(metrics=METRICS)
        (index,) = metadata(text)["model-index"]
        assert index["name"] == "model"
        (result,) = index["results"]
        assert result["task"] == {"type": "unconditional-image-generation"}
        assert result["dataset"] == {"name": "the starter sprites of the project", "type": "pictures"}
        assert result["metrics"] == [
            {"type": "loss", "value": 0.039812, "name": "validation loss"},
            {"type": "loss", "value": 0.0329, "name": "train split loss"},
        ]
        assert "| validation loss | 0.0398 |" in text
        # The Hub's own class reads them back.
        assert [each.metric_value for each in ModelCard(text, ignore_metadata_errors=False).data.eval_results] == [
            0.039812,
            0.0329,
        ]

    def test_without_metrics_there_are_none(self):
        text = written()
        assert "model-index" not in metadata(text) and "## Results" not in text

    def test_the_newest_sheet_is_shown(self, tmp_path):
        (tmp_path / "samples").mkdir()
        assert "![" not in written(output_dir=str(tmp_path))
        for step in (2, 4):
            (tmp_path / "samples" / f"step-{step:06d}.png").touch()
        assert written(output_dir=str(tmp_path)).count("](samples/step-") == 1
        assert "](samples/step-000004.png)" in written(output_dir=str(tmp_path))
        for name in ("zoo.png", "step-1000000.png"):  # somebody's own; and a number of more digits
            (tmp_path / "samples" / name).touch()
        assert "](samples/step-1000000.png)" in written(output_dir=str(tmp_path))


class TestInARun:
    def test_of_the_archive_and_again_after_somebody_has_written_into_it(self, tmp_path, cache, small):
        flags = [*tiny_flags(tmp_path, cache), f"--train_data_dir={small}", "--dataset_config_name=all"]
        flags += ["--save_images_steps=2", "--validation_steps=2", "--ddpm_num_inference_steps=1"]
        train([*flags, "--max_train_steps=2"])
        file = tmp_path / "run" / "README.md"
        text = file.read_text()
        assert licence(text) == RESEARCH and "On the Pokémon sprites (all): " in text and " 2 updates." in text
        assert (tmp_path / "run" / re.search(r"\]\((samples/.*)\)", text)[1]).is_file()
        assert "# run\n" in text and str(tmp_path) not in text
        measured = metadata(text)["model-index"][0]["results"][0]["metrics"]
        assert [each["name"] for each in measured] == ["validation loss", "train split loss"]
        assert settings(text)["model_config_name_or_path"] == "tiny.json"

        ours = text.index("<!-- pokemon-ddpm: this part")
        file.write_text(f"{text[:ours]}# My garden\n\n{text[ours:]}\nThanks to all.\n")
        train([*flags, "--max_train_steps=4", "--resume_from_checkpoint=latest"])
        again = file.read_text()
        assert " 4 updates." in again and " 2 updates." not in again and "samples/step-000004.png" in again
        assert "# My garden\n" in again and again.endswith("Thanks to all.\n")

    def test_of_class_folders_a_persons_licence_stays(self, tmp_path, cache):
        folder = folder_of_classes(tmp_path / "fruit", {"apple": 4, "pear": 4})
        flags = [*tiny_flags(tmp_path, cache), f"--train_data_dir={folder}", "--validation_steps=0"]
        train([*flags, "--max_train_steps=1"])
        file = tmp_path / "run" / "README.md"
        text = file.read_text()
        assert licence(text) == (None, None) and "On fruit: " in text and "| `pokemon_type` | apple, pear |" in text
        assert 'pokemon_type="apple"' in text and "model-index" not in metadata(text)
        file.write_text(text.replace("---\n", "---\nlicense: cc-by-4.0\n", 1))
        train([*flags, "--max_train_steps=2", "--resume_from_checkpoint=latest"])
        assert licence(file.read_text()) == ("cc-by-4.0", None)
