"""Obedience of models that listen, that do not, and that half listen, with predictions that are known."""

import math

import pytest
import torch

pytest.importorskip("scipy")

from pokemon_ddpm.evaluation.intervals import share  # noqa: E402
from pokemon_ddpm.evaluation.obedience import asked_words, label_words, obedience  # noqa: E402
from pokemon_ddpm.evaluation.protocols import extract_features, predict  # noqa: E402
from pokemon_ddpm.vocabulary import TYPES  # noqa: E402

WORDS = ("fire", "water", "grass")


def table(*rows: str, words: tuple[str, ...] = WORDS) -> torch.Tensor:
    return torch.tensor([[word in row.split() for word in words] for row in rows])


def one_each(ids: torch.Tensor, count: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(ids, count).bool()


def test_a_model_that_listens_is_obedient() -> None:
    asked = one_each(torch.arange(180) % 18, 18)
    found = obedience(TYPES, asked | one_each((torch.arange(180) + 3) % 18, 18), asked)
    assert found.obeyed == share(180, 180)
    assert found.by_word.keys() == set(TYPES)
    assert all(each.obeyed == share(10, 10) for each in found.by_word.values())
    assert found.chance == pytest.approx(2 / 18) and found.majority == pytest.approx(1 / 18)


def test_a_label_ignoring_model_fails() -> None:
    """Its samples look like any type, whatever is asked for: it does no better than chance."""
    generator = torch.Generator().manual_seed(0)
    asked = one_each(torch.randint(18, (600,), generator=generator), 18)
    seen = one_each(torch.randint(18, (600,), generator=generator), 18)
    found = obedience(TYPES, seen, asked, asked, asked)
    assert found.obeyed.low < found.chance < found.obeyed.high < 0.1
    assert found.within_reach == 1 and found.real == share(600, 600)


def test_a_classifier_that_sees_everything_is_found_out_by_chance() -> None:
    asked = one_each(torch.arange(30) % 3, 3)
    found = obedience(WORDS, torch.ones(30, 3, dtype=torch.bool), asked)
    assert found.obeyed.value == found.chance == 1


def test_all_words_asked_for_must_be_seen() -> None:
    asked = table("fire", "fire", "fire water", "fire water", "water", "", "grass")
    seen = table("fire grass", "water", "fire water", "fire", "water", "fire", "grass")
    found = obedience(WORDS, seen, asked)
    assert found.obeyed == share(4, 6)
    assert {word: each.obeyed for word, each in found.by_word.items()} == {
        "fire": share(3, 4),
        "water": share(2, 3),
        "grass": share(1, 1),
    }
    # Over the 36 pairs: fire is seen in 3, water in 3, both in 1, grass in 2.
    assert found.chance == pytest.approx((2 * 3 + 2 * 1 + 3 + 2) / 36)
    assert found.by_word["fire"].chance == pytest.approx(3 / 6)
    assert found.majority == pytest.approx(5 / 6)  # fire and water
    assert found.real is None and math.isnan(found.within_reach) and found.by_word["fire"].real is None


def test_real_pictures_say_what_is_within_reach() -> None:
    """At the words asked for, in their numbers; pictures without a label do not count."""
    asked = table("fire", "fire", "fire", "water")
    labels = table("fire", "fire", "water grass", "water", "", "grass")
    seen = table("fire", "water", "water", "water", "fire", "grass")
    found = obedience(WORDS, asked, asked, seen, labels)
    assert found.real == share(3, 5)
    assert found.by_word["fire"].real == share(1, 2) and found.by_word["water"].real == share(2, 2)
    assert found.within_reach == pytest.approx((3 * 0.5 + 1 * 1) / 4)
    missing = obedience(WORDS, table("grass"), table("grass"), seen[:2], labels[:2])
    assert math.isnan(missing.within_reach) and missing.by_word["grass"].real.n == 0


def test_of_nothing_asked_for_there_is_nothing_to_obey() -> None:
    found = obedience(WORDS, table("fire", "water"), table("", ""))
    assert found.obeyed.n == 0 and found.by_word == {}
    assert all(map(math.isnan, (found.obeyed.value, found.chance, found.majority, found.within_reach)))


@pytest.mark.parametrize("seen", [table("fire").float(), table("fire", "fire"), table("fire", words=WORDS[:2])])
def test_tables_that_do_not_fit_are_refused(seen: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"What is seen must be bool \(1, 3\)"):
        obedience(WORDS, seen, table("fire"))


# What was asked for


def test_conditions_are_read_as_the_pipeline_reads_them() -> None:
    words = {"type": WORDS, "color": ("red", "blue"), "legendary": ("no", "yes")}
    conditions = [
        {"type": "fire"},
        {"type": " Fire/WATER ", "color": "red"},
        {"type": ["water", "grass"], "legendary": True},
        {"type": "grass/none", "legendary": False},
        {"type": 1, "view": "front"},
        {"type": {"fire": 0.7, "water": 0.3}, "color": None},
        {"type": "any", "color": "any"},
        {"type": None},
        None,
    ]
    asked = asked_words(conditions, words)
    assert torch.equal(asked["type"], table("fire", "fire water", "water grass", "grass", "water", "", "", "", ""))
    assert torch.equal(asked["color"], table("", "red", *[""] * 7, words=words["color"]))
    assert torch.equal(asked["legendary"], table("", "", "yes", "no", *[""] * 5, words=words["legendary"]))


@pytest.mark.parametrize("word", ["fier", 3, -1])
def test_an_unknown_word_is_refused(word: str | int) -> None:
    with pytest.raises(ValueError, match=rf"asked for the type {word!r}, which is unknown.*Known: fire, water, grass"):
        asked_words([{"type": word}], {"type": WORDS})


def test_labels_become_words() -> None:
    types = torch.tensor([[0, 3], [2, 1], [-1, -1], [1, 4]])  # 3 is `none`, 4 is `any`
    assert torch.equal(label_words(types, 3), table("fire", "water grass", "", "water"))
    assert torch.equal(label_words(torch.tensor([2, -1, 3]), 3), table("grass", "", ""))


# What is seen


class Classifier:
    """Sees types in the first pixels; what is beside a picture changes nothing that it may say."""

    name, words = "first pixels", {"type": WORDS, "color": ("red", "blue")}

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        assert images.shape == (64, 3, 4, 4)
        return {"type": images[:, 0, 0, :3].float() - 100, "color": images[:, 0, 1, :2].float()}


def test_types_above_one_half_and_the_likeliest_are_seen() -> None:
    images = torch.zeros(70, 3, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, :3] = torch.tensor([20, 60, 40])  # none above one half
    images[1, 0, 0, :3] = torch.tensor([120, 160, 100])
    images[69, 0, 0, :3] = torch.tensor([101, 160, 140])
    images[69, 0, 1, :2] = torch.tensor([5, 9])
    seen = predict(Classifier(), images)
    assert torch.equal(seen["type"][[0, 1, 69]], table("water", "fire water", "fire water grass"))
    assert seen["type"].shape == (70, 3) and (seen["type"].sum(dim=1)[2:69] == 1).all()
    assert torch.equal(seen["color"][[0, 69]], table("red", "blue", words=("red", "blue")))
    assert predict(Classifier(), images[:0])["type"].shape == (0, 3)


# What networks are asked


class Means:
    """Stands for a network; what is beside a picture shows in its features."""

    name, dimension = "means", 4

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        own = images.float().mean(dim=(2, 3))
        return torch.cat([own, torch.full_like(own[:, :1], len(images))], dim=1)


def test_features_do_not_depend_on_the_number_of_pictures() -> None:
    images = torch.randint(0, 256, (70, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = extract_features(Means(), images)
    assert features.dtype == torch.float32 and features.shape == (70, 4)
    assert torch.equal(features[:5], extract_features(Means(), images[:5]))
    assert torch.equal(features[:, 3], torch.full((70,), 64.0))
    assert extract_features(Means(), images[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("answer", "complaint"), [(torch.zeros(64, 3), r"\(64, 3\)"), (torch.ones(64, 4) / 0, "finite")]
)
def test_a_network_that_breaks_its_protocol_is_refused(answer: torch.Tensor, complaint: str) -> None:
    class Broken(Means):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return answer

    with pytest.raises(ValueError, match=complaint):
        extract_features(Broken(), torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
