"""The networks: the presets, configurations that are refused, conditioners that are extended, released models."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn

from pokemon_ddpm import RELEASED, PokemonDDPMPipeline, SpriteConditioner, models
from pokemon_ddpm.augmentation import AUGMENTATION_DIM
from pokemon_ddpm.models import PRESETS, ConditionalDenoiser, build_conditioner, build_unet, network_config, pack_unet
from pokemon_ddpm.vocabulary import FINISHES, TYPES, VIEWS
from tests.tiny_models import seeded, tiny_pipeline

TINY = network_config(tiny_pipeline().unet)
RELEASED_MODELS = {
    "pokemon-ddpm-64": (64, 64, 4),
    "pokemon-ddpm-64-fast": (64, 64, 4),
}


def tiny() -> UNet2DModel:
    torch.manual_seed(0)
    return build_unet(TINY, 16, 3).eval()


@pytest.mark.parametrize(
    ("name", "resolution", "channels", "count", "attentions", "groups", "activation", "dropout"),
    [
        ("small", 32, 3, 6_809_251, 4, 32, nn.SiLU, 0.0),
        # 64 * 9 weights more for each of 29 channels of the input, 64 * 9 + 1 for each of 13 of the output, and
        # 8 * 257 for the preconditioning.
        ("packed", 64, 4, 7_397_955 + 29 * 576 + 13 * 577 + 8 * 257, 4, 32, nn.SiLU, 0.1),
        ("base", 64, 4, 22_086_467 + 5 * 576 + 577 + 8 * 257, 11, 32, nn.SiLU, 0.1),
        ("thesis-vanilla", 32, 3, 11_575_363, 0, 1, nn.ReLU, 0.0),
        ("thesis-attention", 32, 3, 12_963_907, 10, 8, nn.SiLU, 0.0),
        ("thesis-final", 32, 3, 12_963_907, 10, 16, nn.SiLU, 0.1),
    ],
)
def test_presets(name, resolution, channels, count, attentions, groups, activation, dropout):
    """`count`: parameters, with those of the conditioner of the types."""
    with torch.device("meta"):
        unet = build_unet(models.unet_config(name), resolution, channels)
    parameters = [*unet.parameters(), *build_conditioner(unet).parameters()]
    assert sum(each.numel() for each in parameters) == count
    found = [module for module in unet.modules() if isinstance(module, Attention)]
    assert len(found) == attentions and (name[:6] != "thesis" or {module.heads for module in found} <= {1})
    assert {module.num_groups for module in unet.modules() if isinstance(module, nn.GroupNorm)} == {groups}
    assert {module.p for module in unet.down_blocks[0].modules() if isinstance(module, nn.Dropout)} == {dropout}
    assert isinstance(unet.mid_block.resnets[0].nonlinearity, activation)
    assert isinstance(unet.time_proj, nn.Embedding) == (name == "thesis-vanilla")
    settings = {"patch_size": 1 if name == "base" else 2, "reference_channels": 4, "scaling_factor": 0.5}
    assert channels == 3 or settings.items() <= unet.config.items()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_with_a_learned_variance_has_twice_the_channels(name):
    torch.manual_seed(0)
    unet = build_unet(models.unet_config(name), 32, learned_variance=True, num_train_timesteps=250).eval()
    denoiser = ConditionalDenoiser(unet, build_conditioner(unet))
    with torch.no_grad():
        found = denoiser(torch.randn(2, 4, 32, 32), torch.tensor([0, 249]), {"type": torch.tensor([[6, 7], [3, 18]])})
    assert found.shape == (2, 8, 32, 32) and found.isfinite().all()
    assert denoiser.scaling_factor == (0.5 if name in ("packed", "base") else 1.0)
    assert name != "thesis-vanilla" or unet.time_proj.num_embeddings == 250


def test_a_configuration_of_diffusers_is_read(tmp_path):
    given = {"sample_size": 64, "in_channels": 1, "out_channels": 1, "num_class_embeds": 10, "class_embed_type": None}
    UNet2DModel(**{**TINY, **given}).save_config(tmp_path)
    config = network_config(build_unet(models.unet_config(str(tmp_path / "config.json")), 32, 3))
    assert config == {**TINY, "sample_size": 32, "num_class_embeds": 10}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((content, "is not JSON") for content in (b"{", b"\xff\xfe{}")),
        *((content, "has no list of block_out_channels") for content in (b"[]", b'{"block_out_channels": 64}')),
        (
            None,
            r"is neither a preset \(small, packed, base, .*\) nor a UNet2DModel configuration in JSON",
        ),
    ],
)
def test_other_configurations_are_refused(tmp_path, content, message):
    file = tmp_path / "network.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file}.*{message}"):
        models.unet_config(str(file))


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": [1]}, {"down_block_types": ["DownBlock2D"]}, {"down_block_types": ["DownBlock2D", "Sideways"]},
        {"norm_num_groups": 7}, {"act_fn": "loud"}, {"block_out_channels": []}, {"block_out_channels": [16, -32]},
        {"layers_per_block": 0}, {"attention_head_dim": 0}, {"dropout": 2}, {"time_embedding_type": "fourier"},
        {"block_out_channels": [16] * 6}, {"patch_size": 0}, {"patch_size": -2}, {"patch_size": "2"},
        {"patch_size": 1.5}, {"patch_size": 16}, {"patch_size": 2, "scaling_factor": 0}, {"scaling_factor": 0.5},
        {"patch_size": 2, "reference_channels": -1},
    ],
    ids=str,
)  # fmt: skip
def test_networks_that_cannot_be_built_are_a_value_error(wrong):
    message = "Invalid UNet2DModel configuration|there is timestep 0|a resolution divisible by 32, not 16"
    with pytest.raises(ValueError, match=message):
        build_unet({**TINY, **wrong}, 16)


def test_a_packed_network_predicts_half_of_minus_v_of_the_small_one_for_means_of_2x2_pixels():
    """Also with a learned time embedding, whose size depends on the number of timesteps."""
    for more, timesteps in (({}, 1000), ({"time_embedding_type": "learned"}, 20)):
        torch.manual_seed(0)
        small = build_unet({**TINY, **more}, 8, 3, num_train_timesteps=timesteps)
        nn.init.normal_(small.conv_out.weight)
        packed = pack_unet(small).eval()
        assert (packed.config.sample_size, packed.config.in_channels, packed.config.scaling_factor) == (16, 4, 0.5)
        sample, reference = torch.randn(2, 2, 4, 16, 16)
        t, embedding = torch.tensor([5, 19]), torch.randn(2, 32)
        with torch.no_grad():
            means = nn.functional.avg_pool2d(sample[:, :3], 2)
            v = small.eval()(2 * means, t, embedding).sample
            expected = -v.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) / 2
            for found in (packed(sample, t, embedding), packed(sample, t, embedding, reference=reference)):
                torch.testing.assert_close(found.sample[:, :3], expected, rtol=1e-4, atol=1e-5)
                assert (found.sample[:, 3] == 0).all() and expected.std() > 0.1


def test_the_embedding_of_the_conditioner_is_the_class_embedding_of_the_network():
    unet = tiny()
    conditioner, sample, timesteps = build_conditioner(unet, ["type"]), torch.randn(2, 3, 16, 16), torch.tensor([5, 9])
    nn.init.normal_(conditioner.augmentation_embedding.weight)
    labels, augmentation = {"type": torch.tensor([[1, 2], [3, 18]])}, torch.randn(2, AUGMENTATION_DIM)
    denoiser = ConditionalDenoiser(unet, conditioner)
    with torch.no_grad():
        found, plain = denoiser(sample, timesteps, labels, augmentation), denoiser(sample, timesteps, labels)
        torch.testing.assert_close(found, unet(sample, timesteps, conditioner(labels, augmentation)).sample)
        assert torch.equal(plain, denoiser(sample, timesteps, labels)) and not torch.allclose(found, plain, atol=1e-3)


def test_the_values_of_a_conditioner():
    conditioner = build_conditioner(tiny(), ["finish", "type", "view"], type_names=("cat", "dog"))
    assert conditioner.vocabulary == {"finish": list(FINISHES), "type": ["cat", "dog"], "view": list(VIEWS)}
    assert conditioner.config.embedding_dim == 32  # four times the width of the first level
    assert build_conditioner(tiny()).vocabulary == {"type": list(TYPES)}
    labels = {"view": torch.tensor([0, 1, -1]), "finish": torch.tensor([1, 1, -1]), "type": torch.zeros(3, 2).long()}
    assert models.varying_attributes(labels) == ["type", "view"] and models.varying_attributes({}) == ["type"]


@pytest.mark.parametrize("augmentation_dim", [0, AUGMENTATION_DIM, 8])  # 8 in earlier versions
def test_an_extended_conditioner_is_the_trained_one_where_new_attributes_are_any(augmentation_dim):
    trained = SpriteConditioner({"type": list(TYPES)}, 32, augmentation_dim)
    for parameter in trained.parameters():
        nn.init.normal_(parameter)
    extended = build_conditioner(tiny(), ["view", "finish"], trained)
    assert set(extended.vocabulary) == {"type", "view", "finish"}
    types, augmentation = torch.tensor([[1, 2], [3, 18], [19, 19]]), torch.randn(3, AUGMENTATION_DIM)
    expected = trained({"type": types}, augmentation if augmentation_dim == AUGMENTATION_DIM else None)
    assert torch.equal(extended({"type": types}, augmentation), expected)
    for name in ("view", "finish"):  # new values differ
        rows = extended.tables[f"{name}_embedding"].weight[:-1]
        assert (torch.cdist(rows, rows) + torch.eye(len(rows)) > 0.1).all()
    assert build_conditioner(tiny(), [], extended).vocabulary == extended.vocabulary


def test_a_conditioner_with_other_values_is_refused():
    for other in (
        {"type": list(TYPES)[::-1]},
        {"type": list(TYPES), "mood": ["happy"]},
        {"type": ["fire"], "view": []},
    ):
        names = "mood" if "mood" in other else ", ".join(other)
        with pytest.raises(ValueError, match=f"its conditioner has other values of {names} than the data"):
            build_conditioner(tiny(), ["type"], SpriteConditioner(other, 32))


def test_the_digest_is_of_the_weights_in_float32():
    digest, coarse = models.weights_digest(tiny()), tiny().bfloat16()
    assert len(digest) == 64 and digest == models.weights_digest(tiny())
    assert digest != models.weights_digest(tiny(), build_conditioner(tiny()))
    assert models.weights_digest(coarse) == models.weights_digest(coarse.float()) != digest


def test_a_former_released_model(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="Use pokemon-ddpm-64 or pokemon-ddpm-64-fast, or its folder, benchmarks/"):
        models.locate_model("pokemon-ddpm-32")
    monkeypatch.chdir(tmp_path)
    Path("pokemon-ddpm-32").mkdir()
    assert models.locate_model("pokemon-ddpm-32") == "pokemon-ddpm-32"


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_a_released_model_is_located_loaded_and_generates(name, tmp_path, monkeypatch):
    folder = str(RELEASED / name)
    assert models.locate_model(name) == folder and models.model_name(folder) == name
    pipeline = PokemonDDPMPipeline.from_pretrained(models.locate_model(name))
    steps = None if "fast" in name else 2
    images = pipeline(["fire", "water"], 1, steps, color="red", generator=seeded(0, 1), output_type="np").images
    assert images.shape == (2, *RELEASED_MODELS[name]) and images.std() > 0.05
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()  # a folder of that name takes precedence
    for other in (name, "someone/pokemon-ddpm-32", "pokemon-ddpm-128", "..", "sprite-features"):
        assert models.locate_model(other) == models.model_name(other) == other
