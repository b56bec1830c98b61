"""The conditioner: the ids of every way to give a condition, what is refused, and the embedding."""

import hashlib
import inspect
import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.pipelines.sprite_conditioner import ARGUMENTS, POKEMON_TYPES
from pokemon_ddpm.vocabulary import COLORS, TYPES, shown_name

FIRE, FLYING, NONE, ANY = 6, 7, 18, 19  # the 18 types are in alphabetical order, then none, then any
LABELS = {"type": torch.tensor([[FIRE, NONE], [3, ANY]]), "color": torch.tensor([1, 4])}
AUGMENTATION = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))


def make(augmentation_dim: int = 0) -> SpriteConditioner:
    torch.manual_seed(0)
    vocabulary = {"type": list(TYPES), "color": list(COLORS), "legendary": ["no", "yes"]}
    return SpriteConditioner(vocabulary, 16, augmentation_dim)


@pytest.fixture
def conditioner() -> SpriteConditioner:
    return make()


@pytest.mark.parametrize(("pokemon_type", "ids"), [
    ("fire", (FIRE, ANY)), (" FIRE ", (FIRE, ANY)), (("fire",), (FIRE, ANY)), ("fire/any", (FIRE, ANY)),
    (" Fire / FLYING ", (FIRE, FLYING)), (("flying", "fire"), (FLYING, FIRE)), ((FIRE, "flying"), (FIRE, FLYING)),
    ("fire/none", (FIRE, NONE)), (None, (ANY, ANY)), ("any", (ANY, ANY)), (0, (0, ANY)), (17, (17, ANY)),
    (np.uint8(FIRE), (FIRE, ANY)), (torch.tensor(FIRE), (FIRE, ANY)),
])  # fmt: skip
def test_type_ids(conditioner, pokemon_type, ids):
    assert conditioner.type_ids(pokemon_type) == ids


def test_the_id_of_a_value_is_its_position(conditioner):
    assert [conditioner.type_ids(name)[0] for name in TYPES] == list(range(18))
    assert [conditioner.attribute_id("color", f" {name.upper()}") for name in COLORS] == list(range(len(COLORS)))
    assert {conditioner.attribute_id("color", value) for value in ("any", " ANY", None)} == {len(COLORS)}
    assert [conditioner.attribute_id("legendary", value) for value in (False, True, "no", " YES")] == [0, 1, 0, 1]
    assert conditioner.none_id == NONE
    assert list(conditioner.any_ids.items()) == [("color", len(COLORS)), ("legendary", 2), ("type", ANY)]


@pytest.mark.parametrize(("wrong", "message"), [
    ("fier", "Unknown type 'fier'. Did you mean 'fire'[?] Known: bug, dark, .*, water, none, any.$"),
    ("ELECT", "Did you mean 'electric'"),
    *((given, "xxx[.]{3}xxx") for given in ("x" * 900_000, "fire/" * 3 + "x" * 900_000, ("x" * 900_000,))),
    *(({"fire": weight}, "positive sum, not {'fire': ") for weight in ("x" * 900_000, -(10**4000))),
    ([0] * 900_000, "takes names"),
    ("fire/", "Unknown type ''"),
    *((given, "must be one type, two different ones, or one and 'none', not ") for given in (
        "fire/fire", ("fire", FIRE), "none", "any/none", "none/none", "fire/flying/water", ())),
    *((given, "pokemon_type takes names, ids from 0 .bug. to 17 .water., pairs, a list of these or None, not ")
      for given in (-1, (0, 18), True, torch.tensor(True), 1.0, ["fire"], (None,))),
    *((given, "must be 0 or more with a positive sum, not {") for given in (
        {}, {"fire": 0, "water": 0.0}, {"fire": 2, "water": -1}, {"fire": 1, "ice": math.nan}, {"ice": math.inf},
        {"fire": "1"})),
], ids=lambda value: str(value)[:30])  # fmt: skip
def test_wrong_types_and_blends_are_refused(conditioner, wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        conditioner.encode([wrong])
    assert len(str(caught.value)) < 300


def test_other_images_have_classes_not_types():
    conditioner = SpriteConditioner({"type": ["cat", "dog", "Écran & périphériques"]}, embedding_dim=8)
    for wrong, name in {"cta": "cat", "Écran": "Écran & périphériques"}.items():
        with pytest.raises(ValueError, match=f"^Unknown class '{wrong}'. Did you mean '{name}'"):
            conditioner.type_ids(wrong)
    with pytest.raises(ValueError, match="^class_labels takes names, ids"):
        conditioner.type_ids(1.0)


@pytest.mark.parametrize(("classes", "given", "has_types"), [
    (TYPES, None, True), ([*TYPES, "stellar"], None, True), (["fire", "water", "grass"], None, False),
    (["fire", "water", "grass"], True, True), (TYPES, False, False),
])  # fmt: skip
def test_whether_it_is_one_of_pokemon(classes, given, has_types):
    conditioner = SpriteConditioner({"type": list(classes)}, embedding_dim=8, has_types=given)
    assert conditioner.has_types == has_types and {*TYPES} == POKEMON_TYPES
    assert conditioner.argument == ("pokemon_type" if has_types else "class_labels")
    if given is None:
        assert shown_name("type", classes) == ("type" if has_types else "class")


def test_unknown_attributes_and_values_are_refused_with_the_known_ones(conditioner):
    with pytest.raises(ValueError, match=f"^Unknown color 'rde'. .*Known: {', '.join([*COLORS, 'any'])}.$"):
        conditioner.attribute_id("color", "rde")
    many = SpriteConditioner({"type": [str(i) for i in range(10_000)]}, embedding_dim=8)
    with pytest.raises(ValueError, match="Known: 0, 1, .* 18, 19, ...[.]$"):
        many.type_ids("x")
    with pytest.raises(ValueError, match="^x{100} is no condition"):
        conditioner.attribute_id("x" * 900_000, None)
    for types, attributes in (("fire", {}), ({"fire": 1.0}, {}), (["fire"], {"color": "red"})):
        with pytest.raises(TypeError, match="must be a list with one entry per image, such as"):
            conditioner.encode(types, **attributes)


@pytest.mark.parametrize(("vocabulary", "message"), [
    ({"type": []}, "must contain 'type'"),
    *(({name: ["a", "b"]}, f"Python identifiers .* there are {re.escape(repr(name))[:90]}")
      for name in ("class", "a b", "a.b", "", "types", "generator", "x" * 101, "a\rb")),
    ({f"a{i}": ["x"] for i in range(64)}, "A model can have 64 attributes, .* there are 65."),
    *(({"mood": ["sad", value]}, f"Unusable values of mood: {re.escape(repr(value))[:90]}")
      for value in ("\x1b]0;x\a", "a/b", "a=b", "a,b", "x" * 900_000, " a", "", "Any", "all")),
    ({"tags": ["big wings"]}, "Unusable values of tags: 'big wings'.* must not contain a space"),
    ({"type": ["cat", "none"]}, "Unusable class names: 'none'"),
    ({"type": ["cat", "Cat"]}, "Unusable class names: 'cat', 'Cat'"),
    ({"type": [str(i) for i in range(10_001)]}, "There are 10,001 class names, but at most 10,000 are possible"),
], ids=lambda value: str(value)[:30].encode("unicode_escape").decode())  # fmt: skip
def test_unusable_names_are_refused(vocabulary, message):
    with pytest.raises(ValueError, match=message) as caught:
        SpriteConditioner({"type": ["cat"], **vocabulary}, embedding_dim=8)
    assert len(str(caught.value)) < 1000


def test_usable_names_are_taken():
    vocabulary = {"type": ["wide box", "Écran & périphériques", "猫", "none-such"], "größe": ["none", "x" * 100]}
    assert SpriteConditioner(vocabulary, embedding_dim=8).vocabulary == vocabulary


def test_attributes_are_arguments_beside_those_of_the_calls():
    calls = (PokemonDDPMPipeline.__call__, SpriteConditioner.encode)
    assert {name for call in calls for name in inspect.signature(call).parameters} == ARGUMENTS


def test_a_blend_is_the_weighted_mean_of_its_parts(conditioner):
    blends = [{"fire/flying": 1, ("water", "none"): 2, None: 1}, {"ice": 3e-9}, "fire"]
    parts = conditioner.encode(["fire/flying", "water/none", None, "ice", "fire"], color=["red"] * 4 + [None])
    expected = torch.stack([(parts[0] + 2 * parts[1] + parts[2]) / 4, parts[3], parts[4]])
    torch.testing.assert_close(conditioner.encode(blends, color=["red", "red", None]), expected)
    scaled = [{"fire": 0.7, "water": 0.3}, {"water": 3, "fire": 7}, {"fire": 7e-9, "water": 3e-9, "ice": 0}]
    encoded = conditioner.encode(scaled)
    torch.testing.assert_close(encoded, encoded[:1].expand_as(encoded))  # only the ratio of the weights matters
    assert torch.equal(*conditioner.encode([{"fire": 0.3}, "fire"]))


def test_the_embedding_starts_with_unit_variance():
    torch.manual_seed(0)
    conditioner = SpriteConditioner({"type": list(TYPES), "color": list(COLORS)}, embedding_dim=4096)
    embedded = conditioner({"type": torch.tensor([[FIRE, FLYING]]), "color": torch.tensor([2])})
    # The variance of 4096 unit Gaussians has a standard deviation of sqrt(2 / 4096) = 0.022.
    assert embedded.var().item() == pytest.approx(1, abs=0.09)


def test_the_augmentation_is_ignored_at_first_then_added_linearly(conditioner):
    new = make(augmentation_dim=8)
    assert torch.equal(new(LABELS, AUGMENTATION), conditioner(LABELS))
    new(LABELS, AUGMENTATION).sum().backward()
    torch.testing.assert_close(new.augmentation_embedding.weight.grad, AUGMENTATION.sum(dim=0).expand(16, 8))
    assert new.tables["type_embedding"].weight.grad.any(dim=1).nonzero().flatten().tolist() == [3, FIRE, NONE, ANY]
    augmented = make(augmentation_dim=8)
    torch.nn.init.normal_(augmented.augmentation_embedding.weight)
    plain, changed = augmented(LABELS), augmented(LABELS, AUGMENTATION)
    assert torch.equal(augmented(LABELS, torch.zeros(2, 8)), plain)
    torch.testing.assert_close(changed, plain + AUGMENTATION @ augmented.augmentation_embedding.weight.T)


THREE_COLORS, BODIES = ["red", "green", "blue"], ["ball", "fish", "wings"]
# Of 6 lines; the first two have several images. Types: 0 is fire, 1 water, 2 grass, 3 none.
TABLE_ROWS = [
    "10 0 3 0 0 0", "10 0 3 0 0 1", "10 0 1 0 0 1", "20 0 3 1 1 0", "20 1 3 1 1 1",
    "30 0 2 2 2 0", "40 0 3 0 2 1", "50 1 3 2 1 1", "60 2 3 3 1 0",
]  # fmt: skip
TABLE = {"attributes": ["color", "shape", "size"], "drawn": ["color", "shape"], "rows": TABLE_ROWS}


def drawing(**changes: object) -> SpriteConditioner:
    vocabulary = {"type": ["fire", "water", "grass"], "color": THREE_COLORS, "shape": BODIES}
    vocabulary |= {"size": ["small", "large"], "view": ["a", "b"]}
    return SpriteConditioner(vocabulary, 16, training_conditions={**TABLE, **changes})


def test_what_is_not_given_is_drawn_from_two_lines_among_the_rows_that_fit_best(tmp_path):
    """Against the rows themselves: SHA-256 decides, first the line and then its row."""
    drawing().save_pretrained(tmp_path)
    conditioner = SpriteConditioner.from_pretrained(tmp_path)
    rows = [[int(number) for number in row.split()] for row in TABLE_ROWS]

    def picked(fitting: list[list[int]], key: str) -> list[int]:
        number = int(hashlib.sha256(key.encode()).hexdigest()[:12], 16)
        lines = sorted({row[0] for row in fitting})
        of_line = [row for row in fitting if row[0] == lines[number % len(lines)]]
        return of_line[number // len(lines) % len(of_line)]

    def share(rows: list[list[int]], color: int) -> Fraction:
        return Fraction(sum(row[3] == color for row in rows), len(rows))

    fire = [row for row in rows if 0 in row[1:3]]  # of four lines
    large_or_water = [row for row in rows if 1 in row[1:3] or row[5] == 1]  # both: of three lines only
    for kind, given, fitting in (
        ("fire", {}, fire),
        ("water", {"size": "large", "view": "b"}, large_or_water),
        ({"fire": 0.7, "water": 0.3}, {"color": None}, fire),
        (None, {"size": "any"}, rows),
    ):
        for seed in range(40):
            lines = [picked(fitting, f"{seed}/{key}") for key in ("color", "color1", "color2")]
            lifts = [share(fitting, line[3]) / share(rows, line[3]) for line in lines]
            one = lines[lifts.index(max(lifts))]
            other = picked([row for row in fitting if row[0] != one[0]], f"{seed}/shape")
            expected = {"color": [*THREE_COLORS, "any"][one[3]], "shape": BODIES[other[4]]}
            assert conditioner.draw(kind, given, seed) == expected
    assert conditioner.draw("fire", {"color": "blue", "shape": "any"}, 7) == {}
    assert SpriteConditioner({"type": ["fire"]}, 16).draw("fire", {}, 0) == {}
    with pytest.raises(ValueError, match="Unknown color 'pnk'"):
        conditioner.draw("fire", {"color": "pnk"}, 0)


@pytest.mark.parametrize("wrong", [
    {"rows": []}, {"rows": ["10 0 3 0 0"]}, {"rows": ["10 0 5 0 0 0"]}, {"rows": ["-1 0 3 0 0 0"]}, {"rows": [7]},
    {"rows": ["10 0 3 4 0 0"]}, {"rows": "10"}, {"rows": None}, {"drawn": ["view"]}, {"drawn": ["type"]},
    {"attributes": ["color", "shape", "mood"]}, {"rows": ["10 0 3 0 0 0"] * 100_001},
], ids=lambda wrong: str(wrong)[:40])  # fmt: skip
def test_training_conditions_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="The training_conditions do not fit the vocabulary"):
        drawing(**wrong)
