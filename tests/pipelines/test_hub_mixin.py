"""Saving, loading and pushing pipelines: exact, self-contained, safe, and complete or not at all."""

import contextlib
import itertools
import json
import os
import pickle
import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusers import DDIMScheduler, DDPMPipeline
from huggingface_hub import RepoCard
from huggingface_hub.utils import _http

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.hub_mixin import WEIGHTS_KEY, pipeline_card, push_folder
from pokemon_ddpm.pipelines.sampling import SCHEDULERS
from pokemon_ddpm.vocabulary import TYPES, VIEWS
from tests.loopback_hub import LoopbackHub, environment, stranger
from tests.tiny_models import seeded, tiny_pipeline
from tests.training.runs import contents as read

NAME, WEIGHTS = "ash/model", "diffusion_pytorch_model.safetensors"
INDEX, UNET, SCHEDULER = "model_index.json", f"unet/{WEIGHTS}", "scheduler/scheduler_config.json"


def plain(name: str) -> str:
    """The path of a file of code without the digest."""
    return re.sub("__[0-9a-f]{8}", "", name)


CODE = {path.name for path in Path(hub_mixin.__file__).parent.glob("[a-z]*.py")}
FILES = {
    "README.md", INDEX, *CODE - {"sprite_unet.py", "sprite_conditioner.py"}, "conditioner/sprite_conditioner.py",
    "conditioner/config.json", f"conditioner/{WEIGHTS}", "unet/config.json", UNET, SCHEDULER,
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def other_pipeline() -> PokemonDDPMPipeline:
    pipeline = tiny_pipeline()
    for component in (pipeline.unet, pipeline.conditioner):
        for values in component.parameters():
            torch.nn.init.ones_(values)
    return pipeline


def is_other(pipeline: PokemonDDPMPipeline) -> bool:
    """Whether all weights are the other pipeline's; fails if only some are."""
    are_ones = {bool((p == 1).all()) for part in (pipeline.unet, pipeline.conditioner) for p in part.parameters()}
    assert are_ones == {True} or not (pipeline.unet.conv_in.weight == 1).any()
    return are_ones == {True}


def load(source: Path | str = NAME, **arguments: object) -> PokemonDDPMPipeline:
    pipeline = PokemonDDPMPipeline.from_pretrained(source, **arguments)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(pipeline: PokemonDDPMPipeline) -> torch.Tensor:
    types, generators = ["fire", "water/ice", None], seeded(0, 1, 2)
    return pipeline(types, num_inference_steps=3, generator=generators, output_type="latent").images


def names(files: dict[str, bytes]) -> set[str]:
    return {plain(name) for name in files}


def change_index(folder: Path, **changes: object) -> None:
    (folder / INDEX).write_text(json.dumps({**json.loads((folder / INDEX).read_text()), **changes}))


class TestSaving:
    def test_the_folder_is_complete(self, saved: Path, tmp_path: Path):
        assert names(read(saved)) == FILES
        index = json.loads((saved / INDEX).read_text())
        assert plain(index["_class_name"][0]) == "pipeline_pokemon_ddpm"
        assert plain(index["conditioner"][0]) == "sprite_conditioner" and index["unet"] == ["diffusers", "UNet2DModel"]
        pipeline = tiny_pipeline(channels=4)
        pipeline.unet = torch.compile(pipeline.unet)  # which is compiled at the first call
        pipeline.save_pretrained(tmp_path)
        files = read(tmp_path)
        assert names(files) == FILES | {"unet/sprite_unet.py"}
        assert plain(json.loads(files[INDEX])["unet"][0]) == "sprite_unet"
        for name, content in files.items():
            if name.endswith(".py"):
                assert sha256(content).hexdigest()[:8] == Path(name).stem[-8:]
                # diffusers takes such lines for imports, also in strings
                assert not re.search(r"^\s*(from|import)\s+pokemon_ddpm", content.decode(), re.MULTILINE)
        tiny_pipeline().save_pretrained(tmp_path)
        assert names(read(tmp_path)) == FILES

    @pytest.mark.parametrize("scheduler_class", SCHEDULERS)
    def test_samples_are_bit_identical_after_loading(self, scheduler_class, tmp_path):
        vocabulary, defaults = {"type": ["fire", "water", "ice"], "view": ["front"]}, {"view": "front"}
        pipeline = tiny_pipeline(channels=4, vocabulary=vocabulary, defaults={"default_conditions": defaults})
        pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config)
        pipeline.save_pretrained(tmp_path)
        loaded = load(tmp_path)
        assert type(loaded) is PokemonDDPMPipeline and type(loaded.scheduler) is scheduler_class
        assert loaded.config.default_conditions == {"view": "front"}
        assert not loaded.unet.training and not loaded.conditioner.training
        assert torch.equal(sample(loaded), sample(pipeline))

    def test_what_is_saved_replaces_the_model_in_the_folder(self, folder):
        (folder / "notes.txt").write_text("mine")
        (folder / "README.md").write_text("# Pokémon – 火\n")
        (folder / UNET).rename(folder / UNET.replace(".safe", ".fp16.safe"))
        with pytest.raises(ValueError, match="there is no unet/diffusion_pytorch_model.safetensors"):
            load(folder)
        other_pipeline().to(dtype=torch.float16).save_pretrained(folder)
        assert names(read(folder)) == FILES | {"notes.txt"} and is_other(load(folder))
        with pytest.raises(ValueError, match="safetensors only"):
            tiny_pipeline().save_pretrained(folder, safe_serialization=False)
        tiny_pipeline().to(dtype=torch.float16).save_pretrained(folder)
        assert names(read(folder)) == FILES | {"notes.txt"}
        assert (folder / "README.md").read_text() == "# Pokémon – 火\n"
        loaded, expected = load(folder), tiny_pipeline().unet.state_dict()
        assert all(torch.equal(v, expected[k].half().float()) for k, v in loaded.unet.state_dict().items())
        for name in ("dtype", "torch_dtype"):
            assert load(folder, **{name: torch.bfloat16}).conditioner.dtype == torch.bfloat16


class TestInterruption:
    def test_at_any_moment_the_folder_loads_as_before_or_is_refused(self, saved, tmp_path, monkeypatch):
        replace, outcomes = os.replace, []
        while outcomes[-1:] != ["new"]:
            moment = len(outcomes)
            folder, calls = Path(shutil.copytree(saved, tmp_path / str(moment))), itertools.count()
            change_index(folder, **{WEIGHTS_KEY: {}})  # a mixture of weights would be refused by them

            def interrupted(source: Path, target: Path, moment: int = moment, calls=calls) -> None:
                if next(calls) == moment:
                    raise KeyboardInterrupt
                replace(source, target)

            with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                patch.setattr(os, "replace", interrupted)
                other_pipeline().save_pretrained(folder)
            try:
                outcomes.append("new" if is_other(load(folder)) else "old")
            except (OSError, ValueError):
                outcomes.append("refused")
            other_pipeline().save_pretrained(folder)
            assert is_other(load(folder)) and names(read(folder)) == FILES
        assert outcomes == ["refused"] * (len(FILES) - 1) + ["new"]  # the card in the folder stays

    def test_a_failed_save_changes_nothing_and_the_next_one_cleans_up(self, folder, saved, monkeypatch):
        with monkeypatch.context() as patch, pytest.raises(TypeError):
            patch.setattr(hub_mixin, "_save_code", None)
            other_pipeline().save_pretrained(folder)
        assert read(folder) == read(saved)
        (folder / ".saving-abc").mkdir()
        other_pipeline().save_pretrained(folder)
        assert names(read(folder)) == FILES and not list(folder.glob(".saving*"))


class Bomb:
    """Creates the file "canary" when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("canary"),)


class TestLoading:
    def test_no_code_of_the_folder_runs(self, folder, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for path in [*folder.rglob("*.py"), folder / "__init__.py", folder / "unet" / "unet.py"]:
            code = "\nimport pathlib\npathlib.Path('canary').touch()\n"
            path.write_text((path.read_text() if path.exists() else "") + code)
        sample(load(folder, trust_remote_code=True))
        assert not Path("canary").exists()
        exec(compile((folder / "unet" / "unet.py").read_text(), "canary", "exec"), {})
        assert Path("canary").exists()

    @pytest.mark.parametrize("component", ["unet", "conditioner"])
    @pytest.mark.parametrize(
        ("name", "reason"),
        [("diffusion_pytorch_model.bin", "there is no .*only: pickles can run code"), (WEIGHTS, "SafetensorError")],
    )
    def test_no_pickle_is_opened(self, folder, tmp_path, monkeypatch, component, name, reason):
        monkeypatch.chdir(tmp_path)
        change_index(folder, **{WEIGHTS_KEY: {}})
        (folder / component / WEIGHTS).unlink()
        (folder / component / name).write_bytes(pickle.dumps({"a": Bomb()}))
        with pytest.raises((OSError, ValueError), match=f"contains no model that can be loaded: .*{reason}"):
            load(folder)
        assert not Path("canary").exists()
        pickle.loads((folder / component / name).read_bytes())
        assert Path("canary").exists()

    @pytest.mark.parametrize(("name", "change", "reason"), [
        (INDEX, None, "model_index.json"),
        (INDEX, b"[]", r"a file is damaged \(TypeError: 'list' object is not a mapping"),
        (INDEX, b'{"_class_name": ["pipe', "model_index.json.* not a valid JSON"),
        (INDEX, {"_class_name": "DDPMPipeline"}, "is a DDPMPipeline, not a PokemonDDPMPipeline"),
        (INDEX, {"scheduler": ["diffusers", "No"]}, "a UNet2DModel and its scheduler a No, which are unknown"),
        (INDEX, {"unet": ["unet", "UNet3D"]}, "its network is a UNet3D .*, which are unknown"),
        (INDEX, {"scheduler": None, "_weights": [1]}, None),
        (INDEX, {"default_conditions": {"view": "front"}}, "view is no condition of this model"),
        (SCHEDULER, None, "scheduler_config.json"),
        (SCHEDULER, {"thresholding": True, "dynamic_thresholding_ratio": 7}, r"quantile\(\) q must be in"),
        (SCHEDULER, {"trained_betas": [0.1] * 10}, r"index -?\d+ is out of bounds"),
        (SCHEDULER, {"prediction_type": "\x1b]0;x\a"}, r"its prediction_type is '\\x1b\]0;x\\x07'"),
        ("unet/config.json", {"norm_num_groups": -4}, "Expected num groups to be greater"),
        ("unet/config.json", {"reference_channels": 4}, "it is of version 1, with an input for references"),
        (SCHEDULER, b'"ash/model"', "'str' object is not a mapping"),  # diffusers would look for it on the Hub
        ("unet/config.json", {"block_out_channels": [8]}, None),
        ("unet/config.json", {"block_out_channels": [8] * 101}, "its network has 101 layers, but at most 100 are"),
        *((file, {name: value}, f"its {name} is {re.escape(repr(value))}, which is not possible")
          for file, name, values in (
            (SCHEDULER, "num_train_timesteps", [10**12, 10**5]), (SCHEDULER, "solver_order", [10**9]),
            (SCHEDULER, "trained_betas", [[float("nan")], [0.1, 2], ["0.1"]]),
            ("unet/config.json", "scaling_factor", [0, float("nan"), float("inf"), "1", None]),
            ("unet/config.json", "sample_size", [-1, [8, 10**9]]), ("unet/config.json", "in_channels", [1500]),
            ("unet/config.json", "layers_per_block", [10**5]), ("unet/config.json", "downsample_padding", [9**9]),
          ) for value in values),
        ("unet/config.json", {"sample_size": 17}, "a file is damaged"),
        ("conditioner/config.json", {"vocabulary": {"type": ["fire"]}}, "size mismatch"),
    ])  # fmt: skip
    def test_damage_is_one_sentence(self, folder, name, change, reason):
        file = folder / name
        if isinstance(change, dict):
            change = json.dumps({**json.loads(file.read_text()), **change}).encode()
        file.unlink() if change is None else file.write_bytes(change)
        with pytest.raises((OSError, ValueError), match=reason) as caught:
            load(folder)
        message = str(caught.value)
        assert message.startswith(f"{folder} contains no model that can be loaded: ") and "\n" not in message

    @pytest.mark.parametrize("name", ["README.md", INDEX, "unet/config.json", UNET, SCHEDULER])
    def test_a_link_out_of_the_folder_is_not_followed(self, folder, tmp_path, name):
        """Saving or pushing the model would copy the file."""
        (folder / name).rename(tmp_path / "other")
        os.mkfifo(folder / name)  # which would never end
        with pytest.raises((OSError, ValueError), match="no model that can be loaded: "):
            load(folder)
        (folder / name).unlink()
        (folder / name).symlink_to(tmp_path / "other")
        with pytest.raises(ValueError, match=f"no model that can be loaded: {name} is a link out of the folder"):
            load(folder)
        (tmp_path / "other").rename(folder / "other")
        (folder / name).unlink()
        (folder / name).symlink_to(folder / "other")
        assert load(folder)

    @pytest.mark.parametrize("name", ["README.md", INDEX, "unet/config.json"])
    def test_a_huge_file_is_not_read(self, folder, name):
        os.truncate(folder / name, 6 * 2**30)
        with pytest.raises(ValueError, match=f"{name} larger than 16 MiB"):
            load(folder)

    @pytest.mark.parametrize(("name", "change", "reason"), [
        ("bias", lambda w: w[:0], "size mismatch for conv_in.bias"),
        ("bias", lambda w: w.to(torch.int8), "conv_in.bias are NaN, infinite .* or whole numbers"),
        ("more", lambda _: torch.ones(1), "Unexpected key.*more"),
        ("bias", lambda w: w * torch.nan, "unet.conv_in.bias are NaN, infinite in"),
    ])  # fmt: skip
    def test_other_weights_are_refused_also_without_digests(self, folder, name, change, reason):
        weights = safetensors.torch.load_file(folder / UNET)
        weights[f"conv_in.{name}"] = change(weights.get(f"conv_in.{name}"))
        safetensors.torch.save_file(weights, folder / UNET)
        if name == "bias" and len(weights["conv_in.bias"]):  # the shapes are compared first
            with pytest.raises(ValueError, match="unet/.* does not belong to this model_index.json. Save or download"):
                load(folder)
        change_index(folder, **{WEIGHTS_KEY: {}})
        with pytest.raises(ValueError, match=reason):
            load(folder)

    def test_a_file_of_many_weights_is_not_read(self, folder):
        safetensors.torch.save_file({str(i): torch.ones(1) for i in range(10_001)}, folder / UNET)
        with pytest.raises(ValueError, match="unet/.* has 10001 tensors, but at most 10000 are possible"):
            load(folder)

    def test_a_folder_of_an_earlier_version(self, folder):
        """Without digests, or with those of another variant, and with a configuration that names no defaults."""
        expected, other = sample(load(folder)), {UNET.replace(".safe", ".fp16.safe"): "00"}
        for digests in ({}, other):
            change_index(folder, **{WEIGHTS_KEY: digests})
            assert torch.equal(sample(load(folder)), expected)
        config = json.loads((folder / SCHEDULER).read_text())
        (folder / SCHEDULER).write_text(json.dumps({"_class_name": config["_class_name"]}))
        assert load(folder).scheduler.config.num_train_timesteps == 1000

    def test_arguments(self, saved, tmp_path, monkeypatch):
        load(saved, use_safetensors=True, low_cpu_mem_usage=True, device_map="cpu")
        with pytest.raises(TypeError, match="does not take quantization_config"):
            load(saved, quantization_config=None)
        for dtype in ("float16", torch.int8, torch.float8_e4m3fn):
            with pytest.raises(ValueError, match=f"dtype must be one of torch.float32, .*, not '?{dtype}"):
                load(saved, torch_dtype=dtype)
        (tmp_path / "outputs").mkdir()
        monkeypatch.chdir(tmp_path)
        for name in ("no/such/folder", "./no-such-folder", "/no/such", "outputs/front-33", "a name", "x" * 300):
            with pytest.raises(OSError, match=f"There is no model folder '{name}'"):  # not looked for on the Hub
                load(name)

    def test_a_pipeline_of_its_components_makes_the_same_images(self, tmp_path):
        own = {"num_inference_steps": 3, "guidance_scale": 4.0, "default_conditions": {"view": "back"}}
        pipeline = tiny_pipeline(vocabulary={"type": TYPES, "view": VIEWS}, channels=4, defaults=own)
        made, other = (type(pipeline)(**pipeline.components, **given) for given in ({}, {"guidance_scale": 1.0}))
        one, same = (maker("fire", generator=seeded(0), output_type="pt").images for maker in (pipeline, made))
        assert torch.equal(one, same) and {name: made.config[name] for name in own} == own
        assert made.do_classifier_free_guidance and other.config.guidance_scale == 1
        other("fire")
        assert not other.do_classifier_free_guidance
        made.save_pretrained(tmp_path)
        assert "_defaults" not in (tmp_path / "conditioner" / "config.json").read_text()

        scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        other = PokemonDDPMPipeline.from_pipe(made, scheduler=scheduler, guidance_scale=3.0)
        assert other.unet is made.unet and other.scheduler is scheduler and other.config.guidance_scale == 3


# Samples with a model where pokemon_ddpm cannot be imported.
SAMPLE = """
import sys
import diffusers
import torch

pipeline = diffusers.DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
generators = [torch.Generator().manual_seed(seed) for seed in (0, 1, 2)]
arguments = {"num_inference_steps": 3, "output_type": "latent"}
torch.save(pipeline(["fire", "water/ice", None], generator=generators, **arguments).images, "images.pt")
"""
SAVE = """
pipeline.save_pretrained(sys.argv[2])
assert type(pipeline).from_pretrained(sys.argv[2], trust_remote_code=True).conditioner.type_ids("fire") == (6, 19)
assert type(pipeline).from_pipe(pipeline).components == pipeline.components
assert "diffusers_modules" in type(pipeline).__module__
"""


@pytest.mark.parametrize(("channels", "is_pushed"), [(3, False), (4, True)])
def test_with_diffusers_alone_it_samples_and_is_saved_again(hub: LoopbackHub, tmp_path, channels, is_pushed):
    vocabulary, defaults = {"type": TYPES, "view": VIEWS}, {"default_conditions": {"view": "front"}}
    pipeline = tiny_pipeline(channels=channels, vocabulary=vocabulary, defaults=defaults)
    pipeline.save_pretrained(source := tmp_path / "saved" / "model")
    saved = read(source)
    if is_pushed:
        pipeline.push_to_hub(source := NAME)
    stranger(SAMPLE + SAVE, environment(tmp_path, hub.endpoint), tmp_path, source, tmp_path / "model")
    torch.testing.assert_close(torch.load(tmp_path / "images.pt"), sample(pipeline), rtol=0, atol=1e-4)
    assert read(tmp_path / "model") == saved


PUSH = """
import sys
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
for name in sys.argv[2:]:
    pipeline.push_to_hub(name)
"""


def test_the_license_travels_with_the_model(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    terms = {"license": "other", "license_name": "research-only"}
    tiny_pipeline().save_pretrained(tmp_path / "model")
    pipeline_card(tiny_pipeline(), NAME, terms).save(tmp_path / "model" / "README.md")
    load(tmp_path / "model").push_to_hub(NAME)
    names = ["ash/new", "ash/mit", "ash/components"]
    for name in names[1:]:
        soon = b"---\nlicense: mit\nlicense_link: LICENSE\n---\n# Soon\n"
        hub.create(name).commit({"README.md": soon, "LICENSE": b"MIT"})
    monkeypatch.setenv("HF_TOKEN", "hf_ash")
    stranger(PUSH, environment(tmp_path, hub.endpoint, "hf_ash"), tmp_path, NAME, *names[:2])
    PokemonDDPMPipeline(**load(NAME).components).push_to_hub(names[2])
    for name in names:
        data = RepoCard(hub.repository(name).files()["README.md"].decode()).data.to_dict()
        assert {key: data[key] for key in data if "license" in key} == terms
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{f'*a{i - 1},' * 9}]}}\n" for i in range(1, 12))
    for unusable in ("license: [", merged, f"license: mit\nx: {'x' * 2**16}"):  # yaml would read hours
        (tmp_path / "model" / "README.md").write_text(f"---\n{unusable}\n---\n")
        assert load(tmp_path / "model").license == {}
    with pytest.raises(ValueError, match="metadata are larger than 64 KiB"):
        push_folder(tmp_path / "model", NAME)


class TestPulling:
    @pytest.fixture
    def files(self, saved: Path) -> dict[str, bytes]:
        return read(saved)

    def test_bit_identical_and_without_code_or_pickles(self, hub, files, pipeline):
        hub.create(NAME).commit({**files, "unet/diffusion_pytorch_model.bin": b"pickle", "weights.pkl": b"pickle"})
        assert torch.equal(sample(load()), sample(pipeline))
        assert not hub.asked(r"\.py|\.bin|\.pkl") and hub.asked(UNET)

    def test_all_files_are_of_one_commit(self, hub, files, tmp_path):
        other_pipeline().save_pretrained(tmp_path)
        repository = hub.create(NAME)
        repository.names["v1"] = repository.commit(files).id
        hub.meanwhile = INDEX, lambda: repository.commit(read(tmp_path))
        assert not is_other(load())
        assert is_other(load()) and not is_other(load(revision="v1"))
        with pytest.raises(OSError, match="ash/model is neither .*Invalid rev id: v2"):
            load(revision="v2")

    def test_a_hub_under_load_and_none(self, hub, files):
        hub.create(NAME).commit(files)
        for where, status in {"/revision/": 429, "/resolve/": 503}.items():
            hub.failures[where] = status
            with pytest.raises(OSError, match=f"^The Hub cannot give ash/model now; try again later: .*{status}.*$"):
                load()
            hub.failures.clear()
        load()
        hub.stop()
        _http.close_session()
        load()  # the cache is enough
        with pytest.raises(OSError, match="ash/elsewhere is neither a folder nor a model that the Hub gives you"):
            load("ash/elsewhere")

    def test_given_components_are_used_and_not_downloaded(self, hub, files):
        hub.create(NAME).commit(files)
        unet, scheduler = tiny_pipeline().unet, DDIMScheduler()
        loaded = load(unet=unet, scheduler=scheduler)
        assert loaded.unet is unet and loaded.scheduler is scheduler
        assert not hub.asked("/resolve/.*(unet|scheduler)/")

    def test_access(self, hub, files, tmp_path, monkeypatch):
        hub.create("ash/private", private=True).commit(files)
        DDPMPipeline(tiny_pipeline().unet, tiny_pipeline().scheduler).save_pretrained(tmp_path)
        hub.create("ash/ddpm").commit(read(tmp_path))
        monkeypatch.setenv("HF_TOKEN", "")
        for name in ("ash/nothing", "ash/private"):
            with pytest.raises(OSError, match=f"{name} is neither a folder nor a model .*`hf auth login`"):
                load(name)
        with pytest.raises(ValueError, match="ash/ddpm contains no .* DDPMPipeline, not a PokemonDDPMPipeline"):
            load("ash/ddpm")
        assert not hub.asked("safetensors")
        load("ash/private", token="hf_ash")


class TestPushing:
    def test_again_sends_only_what_changed_and_replaces_code_and_weights(self, hub, pipeline):
        url = pipeline.push_to_hub(NAME, commit_message="By hand", private=True)
        pipeline.push_to_hub(NAME)
        repository = hub.repository(NAME)
        assert repository.titles == ["By hand"] and repository.private and len(hub.asked("^PUT ")) == 2
        assert url == f"{hub.endpoint}/{NAME}/commit/{repository.at().id}"
        code = ("unet/sprite_unet.py", "conditioner/sprite_conditioner.py", "pipeline.py", "hub_mixin__01234567.py")
        gone = (*code, "samples/step-000001.png", "unet/diffusion_pytorch_model.fp16.safetensors")
        kept = ("notes.md", "unet/mine.json", "my__function.py")
        repository.commit(dict.fromkeys([*gone, *kept], b"1"))
        torch.nn.init.ones_(pipeline.unet.conv_in.weight)
        pipeline.push_to_hub(NAME)
        assert len(hub.asked("^PUT ")) == 3 and names(hub.repository(NAME).files()) == FILES | {*kept}


@pytest.mark.parametrize("value", ['say "hi"', "back\\slash", "a|b", "{{ name }}"])
def test_strange_values_in_a_card(value):
    text = pipeline_card(tiny_pipeline(vocabulary={"type": [value, "other"]}), NAME).text
    assert eval(re.search(r"class_labels=(.*)\)\.images", text)[1]) == value
    (row,) = re.findall(r"^\| `class_labels` \|.*$", text, re.MULTILINE)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
