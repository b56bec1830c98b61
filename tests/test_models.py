"""The networks: what each preset is made of, what is refused, and how a trained conditioner is gone on with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn

from pokemon_ddpm import SpriteConditioner
from pokemon_ddpm.augmentation import AUGMENTATION_DIM
from pokemon_ddpm.models import PRESETS, ConditionalDenoiser, build_conditioner, build_unet, unet_config
from pokemon_ddpm.vocabulary import FINISHES, TYPES, VIEWS
from tests.training_runs import TINY_NETWORK


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def preset(name: str, resolution: int = 32, *rest: Any) -> UNet2DModel:
    """An untrained network without memory for its weights."""
    with torch.device("meta"):
        return build_unet(unet_config(name), resolution, *rest)


# Presets


@pytest.mark.parametrize(
    ("name", "resolution", "count", "limit"),
    [
        ("small", 32, 6_809_763, 7_800_000),
        ("base", 64, 22_087_491, 25_000_000),
    ],
)
def test_our_presets_have_their_size(name: str, resolution: int, count: int, limit: int) -> None:
    """With the conditioner of the types."""
    unet = preset(name, resolution)
    assert parameters(unet) + parameters(build_conditioner(unet)) == count <= limit


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("learned", [False, True])
def test_a_preset_takes_and_gives_pictures(name: str, learned: bool) -> None:
    torch.manual_seed(0)
    unet = build_unet(unet_config(name), 32, learned).eval()
    denoiser = ConditionalDenoiser(unet, build_conditioner(unet))
    with torch.no_grad():
        answer = denoiser(torch.randn(2, 3, 32, 32), torch.tensor([0, 999]), {"type": torch.tensor([[6, 7], [3, 18]])})
    assert answer.shape == (2, 6 if learned else 3, 32, 32) and answer.dtype == torch.float32
    assert answer.isfinite().all()


def attention_at(unet: UNet2DModel) -> set[int]:
    """The sides, for pictures of 32, at which the way down and the way up have attention; 0 for the middle."""
    sides = set()
    for blocks, side_of in ((unet.down_blocks, lambda i: 32 >> i), (unet.up_blocks, lambda i: 32 >> 3 - i)):
        for i, block in enumerate(blocks):
            if any(isinstance(module, Attention) for module in block.modules()):
                sides.add(side_of(i))
    return sides | ({0} if any(isinstance(module, Attention) for module in unet.mid_block.modules()) else set())


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("small", {0, 8}),
        ("base", {0, 8, 4}),  # 16 and 8 for pictures of 64
        ("thesis-vanilla", set()),
        ("thesis-attention", {0, 16, 8, 4}),
        ("thesis-final", {0, 16, 8, 4}),
    ],
)
def test_where_a_preset_has_attention(name: str, sides: set[int]) -> None:
    assert attention_at(preset(name)) == sides


@pytest.mark.parametrize("name", ["thesis-vanilla", "thesis-attention", "thesis-final"])
def test_the_thesis_presets_share_widths_and_depth(name: str) -> None:
    unet = preset(name)
    widths = [block.resnets[0].conv2.out_channels for block in unet.down_blocks]
    assert widths == [64 * factor for factor in (1, 2, 2, 4)]
    assert [len(block.resnets) for block in unet.down_blocks] == [1] * 4
    assert {module.heads for module in unet.modules() if isinstance(module, Attention)} <= {1}


@pytest.mark.parametrize(
    ("name", "groups", "activation", "time", "dropout"),
    [
        ("thesis-vanilla", {1}, nn.ReLU, nn.Embedding, 0.0),
        ("thesis-attention", {8}, nn.SiLU, None, 0.0),
        ("thesis-final", {16}, nn.SiLU, None, 0.1),
    ],
)
def test_what_the_thesis_presets_differ_by(name, groups, activation, time, dropout) -> None:
    unet = preset(name)
    assert {module.num_groups for module in unet.modules() if isinstance(module, nn.GroupNorm)} == groups
    kinds = {key: type(module) for key, module in unet.named_modules() if isinstance(module, nn.ReLU | nn.SiLU)}
    # diffusers leaves no choice for these two.
    assert kinds.pop("time_embedding.act") is kinds.pop("conv_act") is nn.SiLU
    assert set(kinds.values()) == {activation}
    assert isinstance(unet.time_proj, nn.Embedding) == (time is nn.Embedding)
    assert {module.p for module in unet.modules() if isinstance(module, nn.Dropout)} == {dropout} | (
        {0.0} if attention_at(unet) else set()  # attention's own
    )


def test_a_learned_time_embedding_has_a_row_for_every_timestep() -> None:
    assert preset("thesis-vanilla", 32, False, 250).time_proj.num_embeddings == 250


def test_a_preset_can_be_changed_without_changing_the_next_one() -> None:
    unet_config("small")["dropout"] = 0.5
    assert "dropout" not in unet_config("small")


# Configurations


def test_a_configuration_of_diffusers_is_taken(tmp_path: Path) -> None:
    """As `UNet2DModel.save_config` writes it; what the task fixes is set by it."""
    saved = UNet2DModel(sample_size=64, in_channels=1, out_channels=1, num_class_embeds=10, **TINY_NETWORK)
    saved.save_config(tmp_path)
    unet = build_unet(unet_config(str(tmp_path / "config.json")), 16)
    assert [type(block).__name__ for block in unet.down_blocks] == TINY_NETWORK["down_block_types"]
    fixed = unet.config.sample_size, unet.config.in_channels, unet.config.out_channels, unet.config.class_embed_type
    assert fixed == (16, 3, 3, "identity")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        ("[]", "has no list of block_out_channels"),
        ("{}", "has no list of block_out_channels"),
        ('{"block_out_channels": 64}', "has no list of block_out_channels"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    file = tmp_path / "network.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said) as error:
        unet_config(str(file))
    assert str(file) in str(error.value)


@pytest.mark.parametrize("name", ["huge", "no/such/file.json", ""])
def test_an_unknown_preset_is_told_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError) as error:
        unet_config(name)
    known = "small, base, thesis-vanilla, thesis-attention, thesis-final"
    assert str(error.value) == f"{name!r} is neither a preset ({known}) nor a UNet2DModel configuration in JSON."


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": [1]},
        {"down_block_types": ["DownBlock2D"]},
        {"down_block_types": ["DownBlock2D", "SidewaysBlock2D"]},
        {"norm_num_groups": 7},
        {"norm_num_groups": 0},
        {"act_fn": "loud"},
        {"block_out_channels": []},
        {"block_out_channels": ["16", "32"]},
        {"block_out_channels": [16, -32]},
        {"layers_per_block": "two"},
        {"attention_head_dim": 0},
        {"dropout": 2},
        {"time_embedding_type": "none"},
        {"time_embedding_type": "fourier"},
        {"layers_per_block": 0},
    ],
    ids=str,
)
def test_a_network_that_cannot_be_built_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Not a valid UNet2DModel configuration|there is a timestep of 0"):
        build_unet({**TINY_NETWORK, **wrong}, 16)


def test_a_resolution_that_cannot_be_halved_often_enough_is_refused() -> None:
    config = {**unet_config("small"), "block_out_channels": (32,) * 5}
    with pytest.raises(ValueError, match="A network of 5 levels needs a resolution divisible by 16, not 24"):
        build_unet(config, 24)


# The denoiser and its conditioner


def tiny(seed: int = 0) -> UNet2DModel:
    torch.manual_seed(seed)
    return build_unet({**TINY_NETWORK, "dropout": 0.0}, 16).eval()


def test_the_conditioner_s_embedding_is_the_network_s_class_embedding() -> None:
    unet = tiny()
    conditioner = build_conditioner(unet, ["type", "view"])
    nn.init.normal_(conditioner.augmentation_embedding.weight)
    sample, timesteps = torch.randn(2, 3, 16, 16), torch.tensor([5, 700])
    labels = {"type": torch.tensor([[1, 2], [3, 18]]), "view": torch.tensor([0, 1])}
    told = torch.randn(2, AUGMENTATION_DIM)
    with torch.no_grad():
        answer = ConditionalDenoiser(unet, conditioner)(sample, timesteps, labels, told)
        embedding = conditioner(labels) + told @ conditioner.augmentation_embedding.weight.T
        expected = unet(sample, timesteps, class_labels=embedding).sample
        without = ConditionalDenoiser(unet, conditioner)(sample, timesteps, labels)
    torch.testing.assert_close(answer, expected)
    assert not torch.allclose(answer, without, atol=1e-3)


def test_a_conditioner_knows_the_words_of_what_is_asked_for() -> None:
    conditioner = build_conditioner(tiny(), ["finish", "type", "view"])
    assert conditioner.vocabulary == {"finish": list(FINISHES), "type": list(TYPES), "view": list(VIEWS)}
    assert conditioner.config.embedding_dim == 64  # four times the width of the first level
    assert build_conditioner(tiny()).vocabulary == {"type": list(TYPES)}


def trained_conditioner(*attributes: str, augmentation_dim: int = AUGMENTATION_DIM) -> SpriteConditioner:
    words = {"type": list(TYPES), "view": list(VIEWS), "finish": list(FINISHES)}
    torch.manual_seed(1)
    conditioner = SpriteConditioner({name: words[name] for name in attributes}, 64, augmentation_dim)
    for parameter in conditioner.parameters():
        nn.init.normal_(parameter)
    return conditioner


@pytest.mark.parametrize("augmentation_dim", [0, AUGMENTATION_DIM])
def test_where_nothing_is_said_of_what_a_trained_conditioner_lacks_nothing_changes(augmentation_dim: int) -> None:
    trained = trained_conditioner("type", augmentation_dim=augmentation_dim)
    grown = build_conditioner(tiny(), ["type", "view", "finish"], trained)
    assert set(grown.vocabulary) == {"type", "view", "finish"}
    types, told = torch.tensor([[1, 2], [3, 18], [19, 19]]), torch.randn(3, AUGMENTATION_DIM)
    labels = {"type": types, "view": torch.full((3,), 2), "finish": torch.full((3,), 2)}
    known = told if augmentation_dim else None
    assert torch.equal(grown(labels, told), trained({"type": types}, known))
    # But the new words are all different, and can be learned.
    for name in ("view", "finish"):
        words = grown.tables[f"{name}_embedding"].weight[:-1]
        assert (torch.cdist(words, words) + torch.eye(len(words)) > 0.1).all()
    grown(labels, told).sum().backward()
    assert all(parameter.grad.any() for parameter in grown.parameters())


def test_what_a_trained_conditioner_knows_stays() -> None:
    trained = trained_conditioner("type", "view")
    kept = build_conditioner(tiny(), ["type"], trained)
    assert kept.vocabulary == trained.vocabulary
    for name, tensor in trained.state_dict().items():
        assert torch.equal(kept.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("vocabulary", "named"),
    [
        ({"type": list(TYPES)[:-1]}, "type"),
        ({"type": list(TYPES)[::-1]}, "type"),
        ({"type": list(TYPES), "mood": ["happy"]}, "mood"),
        ({"type": ["fire"], "view": ["side"]}, "type, view"),
    ],
)
def test_a_conditioner_with_other_words_is_refused(vocabulary: dict[str, list[str]], named: str) -> None:
    with pytest.raises(ValueError, match=f"knows other words for {named} than this version"):
        build_conditioner(tiny(), ["type"], SpriteConditioner(vocabulary, 64))


def test_the_words_of_the_types_can_be_the_data_s_own() -> None:
    own = ("cat", "dog")
    conditioner = build_conditioner(tiny(), ["type", "view"], type_names=own)
    assert conditioner.vocabulary == {"type": ["cat", "dog"], "view": list(VIEWS)}
    assert build_conditioner(tiny(), [], conditioner, own).vocabulary == conditioner.vocabulary
    with pytest.raises(ValueError, match="knows other words for type than the data set has"):
        build_conditioner(tiny(), ["type"], conditioner, ("dog", "cat"))
    with pytest.raises(ValueError, match="knows other words for type than this version"):
        build_conditioner(tiny(), ["type"], conditioner)
