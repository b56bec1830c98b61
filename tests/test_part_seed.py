"""The seed of a part: the page's script has the same rule."""

from pokemon_ddpm.part_seed import part_seed


def test_the_seed_of_a_part_is_of_31_bits_and_its_own() -> None:
    expected = {(7, "2-back", 0): 405938043, (7, "2-back", 1): 58816100, (2**63, "1-front", 0): 1929474508}
    assert {key: part_seed(*key) for key in expected} == expected
    assert len({part_seed(7, part, attempt) for part in ("1-back", "2-front") for attempt in range(4)}) == 8
