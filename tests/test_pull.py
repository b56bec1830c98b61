"""Pulling a model: with diffusers alone, with the package and none of the repository's code, and with the commands."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import _http
from PIL import Image

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.hub import push_model
from tests.conftest import tiny_pipeline
from tests.drawing import draw, seeded
from tests.generating import run as command
from tests.loopback_hub import LoopbackHub, environment, stranger
from tests.loopback_hub.this_process import hub_of_this_process, meanwhile
from tests.test_push.pushing import read
from tests.training_runs import command as fresh_process
from tests.training_runs import tiny_flags, train, trainer

NAME = "ash/model"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub that this process, with an empty cache, goes to without a token."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    with hub_of_this_process(monkeypatch) as hub:
        monkeypatch.setenv("HF_TOKEN", "")
        yield hub


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a saved tiny pipeline consists of."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_pipeline().save_pretrained(folder)
    return read(folder)


@pytest.fixture
def other(tmp_path: Path) -> dict[str, bytes]:
    """The same with another network."""
    pipeline = tiny_pipeline()
    torch.nn.init.ones_(pipeline.unet.conv_in.weight)
    pipeline.save_pretrained(tmp_path / "other")
    return read(tmp_path / "other")


def pull(**arguments: object) -> PokemonDDPMPipeline:
    pipeline = PokemonDDPMPipeline.from_pretrained(NAME, **arguments)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def is_other(pipeline: PokemonDDPMPipeline) -> bool:
    return bool((pipeline.unet.conv_in.weight == 1).all())


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    _http.close_session()
    yield
    _http.close_session()


# What a stranger writes, and around it what shows that it did what it should.
FIRST = 'pipe = DiffusionPipeline.from_pretrained("user/pokemon-ddpm", trust_remote_code=True)'
SECOND = 'pipe(pokemon_type="fire").images[0]'
PROGRAM = f"""
import torch
from diffusers import DiffusionPipeline
torch.manual_seed(0)
{FIRST}
image = {SECOND}
image.save("fire.png")
pipe.save_pretrained("again")
print(type(pipe).__module__, type(pipe.conditioner).__module__)
"""


def test_a_stranger_needs_two_lines(hub, monkeypatch, tmp_path):
    hub.tokens["hf_user"] = "user"
    push_model(Path(RELEASED_MODEL), "user/pokemon-ddpm", token="hf_user")
    said = stranger(PROGRAM, environment(tmp_path, hub.endpoint), tmp_path, timeout=600)
    assert said.count("diffusers_modules") == 2
    ours = PokemonDDPMPipeline.from_pretrained("user/pokemon-ddpm")
    ours.set_progress_bar_config(disable=True)
    torch.manual_seed(0)
    expected = ours(pokemon_type="fire", output_type="np").images[0]
    with Image.open(tmp_path / "fire.png") as drawn:
        assert abs(np.asarray(drawn, dtype=np.float32) / 255 - expected).max() < 0.02
    # What was pulled and saved again is as whole as what was pushed.
    pushed, again = hub.repository("user/pokemon-ddpm").files(), read(tmp_path / "again")
    assert again.keys() == {name for name in pushed if not name.startswith("samples/")}
    for name in again:
        if name.endswith(".py"):
            assert again[name] == pushed[name], name
    index = json.loads(again["model_index.json"])
    assert index["_class_name"] == ["pipeline", "PokemonDDPMPipeline"]
    assert index["conditioner"] == ["sprite_conditioner", "SpriteConditioner"]


class TestWithThePackage:
    def test_it_draws_what_was_pushed(self, hub, files):
        hub.create(NAME).commit(files)
        arguments = {"pokemon_type": ["fire", "water/ice"], "steps": 3, "output_type": "latent"}
        expected = draw(tiny_pipeline(), **arguments, generator=seeded(0, 1))
        assert torch.equal(draw(pull(), **arguments, generator=seeded(0, 1)), expected)

    def test_no_code_of_the_repository_runs_or_is_even_fetched(self, hub, files, tmp_path):
        canary = tmp_path / "canary"
        code = f"\nimport pathlib\npathlib.Path({str(canary)!r}).write_text('code ran')\n".encode()
        strange = {name: content + code * name.endswith(".py") for name, content in files.items()}
        for name in ("__init__.py", "unet/unet.py", "scheduler/scheduler.py", "conditioner/__init__.py"):
            strange[name] = code
        strange["unet/diffusion_pytorch_model.bin"] = strange["weights.pkl"] = b"pickle"
        hub.create(NAME).commit(strange)
        draw(pull(), "fire")
        draw(pull(trust_remote_code=True), "fire")
        assert command("describe", NAME)[0] == 0
        assert not canary.exists()
        assert not hub.asked(r"\.py|\.bin|\.pkl") and hub.asked(WEIGHTS)
        # Run, the code would have been noticed:
        exec(compile(strange["pipeline.py"].replace(files["pipeline.py"], b""), "canary", "exec"), {})
        assert canary.exists()

    def test_revisions(self, hub, files, other):
        repository = hub.create(NAME)
        first = repository.commit(files)
        repository.name(repository.tags, "v1")
        repository.name(repository.branches, "trial", "v1")
        repository.commit(other)
        assert is_other(pull()) and is_other(pull(revision="main"))
        for revision in ("v1", "trial", first.id):
            assert not is_other(pull(revision=revision)), revision
        with pytest.raises(OSError, match="ash/model has no revision 'v2'. Give a branch, a tag or a commit"):
            pull(revision="v2")

    @pytest.mark.parametrize("moment", ["model_index.json", "unet/config.json", "/tree/"])
    def test_all_is_of_one_commit(self, hub, files, other, moment):
        """Also where somebody pushes at that moment; else weights would meet the configuration of another model."""
        hub.create(NAME).commit(files)
        meanwhile(hub, moment, lambda: hub.repository(NAME).commit(other))
        assert not is_other(pull())
        assert is_other(pull())

    def test_the_token(self, hub, files, monkeypatch):
        hub.create(NAME, private=True).commit(files)
        with pytest.raises(
            OSError, match="ash/model is neither a folder here nor a model .* `hf auth login`, or pass"
        ):
            pull()
        with pytest.raises(OSError, match="The Hub does not know the token. `hf auth login`"):
            pull(token="hf_wrong")
        pull(token="hf_ash")
        monkeypatch.setenv("HF_TOKEN", "hf_ash")
        pull(force_download=True)

    def test_the_cache(self, hub, files, other, tmp_path):
        hub.create(NAME).commit(files)
        pull(cache_dir=tmp_path / "mine")
        assert list((tmp_path / "mine").rglob(f"snapshots/*/{WEIGHTS}")) and not (tmp_path / "hub-cache").exists()
        hub.requests.clear()
        pull(cache_dir=tmp_path / "mine", local_files_only=True)
        assert not hub.requests
        pull(cache_dir=tmp_path / "mine")
        assert hub.requests == [("GET", f"/api/models/{NAME}/revision/main")], "nothing is fetched twice"
        with pytest.raises(OSError, match="ash/model is not in the cache.*local_files_only is set.* with the network"):
            pull(local_files_only=True)
        hub.repository(NAME).commit(other)
        assert not is_other(pull(cache_dir=tmp_path / "mine", local_files_only=True))
        hub.requests.clear()
        assert is_other(pull(cache_dir=tmp_path / "mine"))
        assert not hub.asked("^GET .*conditioner/.*safetensors"), "only what has changed is fetched"

    def test_ready_made_components_are_not_fetched(self, hub, files):
        hub.create(NAME).commit(files)
        unet, scheduler = tiny_pipeline().unet, DDIMScheduler.from_config(tiny_pipeline().scheduler.config)
        loaded = pull(unet=unet, scheduler=scheduler)
        assert loaded.unet is unet and loaded.scheduler is scheduler
        assert not hub.asked("/resolve/.*(unet|scheduler)/")

    def test_variants(self, hub, tmp_path):
        tiny_pipeline().save_pretrained(tmp_path / "half", variant="fp16")
        hub.create(NAME).commit(read(tmp_path / "half"))
        assert pull(variant="fp16").unet.dtype == torch.float32
        assert pull(variant="fp16", dtype=torch.bfloat16).conditioner.dtype == torch.bfloat16
        with pytest.raises(OSError, match="ash/model holds no whole model: "):
            pull()

    def test_pulled_and_saved_it_tells_nothing_of_this_machine(self, hub, files, tmp_path):
        hub.create(NAME).commit(files)
        pull().save_pretrained(tmp_path / "again")
        for name, content in read(tmp_path / "again").items():
            assert str(tmp_path).encode() not in content, name
            assert name == "README.md" or content == files[name], name


class TestOffline:
    def test_what_is_in_the_cache_is_enough(self, hub, files, monkeypatch, offline):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        hub.create(NAME).commit(files)
        pull()
        hub.requests.clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        _http.close_session()
        pull()
        assert "HF_HUB_OFFLINE or local_files_only is set" in refusal("ash/elsewhere")
        assert not hub.requests

    def test_also_where_the_hub_does_not_answer_and_without_a_wait(self, hub, files):
        hub.create(NAME).commit(files)
        pull()
        for trouble in (lambda: hub.fail("", 500, None), lambda: hub.fail("", 429, None, {"Retry-After": "60"})):
            trouble()
            pull()
            message = refusal("ash/elsewhere")
            assert "ash/elsewhere is not in the cache" in message and "the Hub cannot be reached (" in message
            hub.heal()
        hub.__exit__(None)
        pull()
        assert "cannot be reached (ConnectError: [Errno 111] Connection refused)" in refusal("ash/elsewhere")
        assert not hub.waits

    def test_in_a_process_of_its_own(self, hub, files, tmp_path):
        hub.create(NAME).commit(files)
        given = environment(tmp_path, hub.endpoint)
        pull(cache_dir=given["HF_HUB_CACHE"])
        hub.requests.clear()
        done = fresh_process("pokemon-ddpm", "describe", NAME, **{**given, "HF_HUB_OFFLINE": "1"})
        assert (done.returncode, done.stderr) == (0, "") and "type: bug, dark," in done.stdout
        assert not hub.requests


def refusal(name: str, *words: object) -> str:
    """What `describe` says of a model that cannot be had."""
    status, said = command("describe", name, *words)
    assert status == 2 and said.count("error: ") == 1, said
    assert len(said) < 2 * 160, said
    return said


class TestMistakes:
    @pytest.fixture
    def models(self, hub, files, tmp_path) -> None:
        tiny = tiny_pipeline()
        DDPMPipeline(tiny.unet, tiny.scheduler).save_pretrained(tmp_path / "ddpm")
        pickled = {name.replace(".safetensors", ".bin"): content for name, content in files.items()}
        half = {name: content for name, content in files.items() if not name.startswith("scheduler/")}
        damaged = {**files, WEIGHTS: files[WEIGHTS][:5000]}
        for name, content in {
            "ddpm": read(tmp_path / "ddpm"),
            "text": {"README.md": b"# Nothing yet\n"},
            "pickled": pickled,
            "half": half,
            "damaged": damaged,
            "index": {**files, "model_index.json": b"{"},
        }.items():
            hub.create(f"ash/{name}").commit(content)
        hub.create("ash/secret", private=True).commit(files)
        hub.create("ash/gated", gated=True).commit(files)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("ash/nothing", "neither a folder here nor a model on the Hub that this token may see. .*`hf auth login`"),
            ("ash/secret", "neither a folder here nor a model on the Hub that this token may see. .*`hf auth login`"),
            ("ash/gated", "open only to whom its owner lets in. Ask on its page"),
            ("ash/ddpm", "ash/ddpm holds a DDPMPipeline, not a PokemonDDPMPipeline"),
            ("ash/text", "ash/text holds no model: there is no model_index.json in it"),
            ("ash/pickled", "ash/pickled holds no weights of its unet as safetensors, and pickles are not loaded"),
            ("ash/half", "ash/half holds no whole model: .*scheduler_config.json"),
            ("ash/damaged", "ash/damaged holds no whole model: "),
            ("ash/index", "ash/index holds no whole model: .*model_index.json"),
            ("ash/too/long", "There is no model folder 'ash/too/long'"),
            ("a name", "There is no model folder 'a name'"),
            ("ash/-x-", "ash/-x-"),
        ],
    )
    def test_they_are_told_in_a_sentence(self, hub, models, name, told):
        assert re.search(told, refusal(name)), refusal(name)
        assert not hub.waits and not hub.asked(r"\.bin")

    def test_another_command_says_the_same(self, hub, models, tmp_path):
        status, said = command("generate", "--model", "ash/nothing", "--output", tmp_path / "sheet.png")
        assert status == 2 and said.startswith("error: ash/nothing is neither a folder here nor a model on the Hub")
        assert not list(tmp_path.glob("*.png"))

    def test_a_download_that_is_cut_is_told_and_can_be_repeated(self, hub, files):
        hub.create(NAME).commit(files)
        hub.cut("^GET .*safetensors", 1000, None)
        assert re.search("ash/model could not be fetched from the Hub .*Try again; what has arrived is", refusal(NAME))
        hub.heal()
        hub.cut("^GET .*safetensors", 1000, 1)
        pull()


class TestTraining:
    def test_a_pulled_model_is_trained_further(self, hub, files, tmp_path, sprites_cache):
        hub.create(NAME).commit({**files, "README.md": b"---\nlicense: cc-by-4.0\n---\n# Theirs\n"})
        flags = [each for each in tiny_flags(tmp_path, sprites_cache) if "model_config" not in each]
        flags += [f"--pretrained_model_name_or_path={NAME}", "--validation_steps=0"]
        with trainer(flags) as started:
            weights, expected = started.unwrapped.unet.state_dict(), tiny_pipeline().unet.state_dict()
            assert all(torch.equal(weights[name], expected[name]) for name in expected)
        train(flags)
        trained = PokemonDDPMPipeline.from_pretrained(tmp_path / "run")
        assert not torch.equal(trained.unet.conv_in.weight, tiny_pipeline().unet.conv_in.weight)
        card = ModelCard.load(tmp_path / "run" / "README.md").data
        assert (card.base_model, card.license) == (NAME, "cc-by-4.0")
        for name, content in read(tmp_path / "run").items():
            if "checkpoint" not in name and name != "training_config.json":
                assert str(tmp_path).encode() not in content, name

    def test_one_that_cannot_be_had_is_told(self, hub, tmp_path, sprites_cache):
        flags = [each for each in tiny_flags(tmp_path, sprites_cache) if "model_config" not in each]
        for flag in (
            "--pretrained_model_name_or_path=ash/nothing",
            "--distill_from=ash/nothing --distill_teacher_steps=4",
        ):
            with pytest.raises(SystemExit) as caught:
                train([*flags, *flag.split()])
            assert str(caught.value).startswith("error: ash/nothing is neither a folder here nor a model on the Hub")
            assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
