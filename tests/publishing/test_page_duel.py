"""Duels and days on the page: their rules, run by Node."""

import json

from pokemon_ddpm.publishing.page import SOURCE
from pokemon_ddpm.vocabulary import TYPES
from tests.publishing.test_page_rules import pytestmark, run  # noqa: F401

CARDS = json.loads((SOURCE / "cards.json").read_text(encoding="utf-8"))
FACTS = {
    ("water", "fire"): 2, ("fire", "water"): 0.5, ("normal", "ghost"): 0, ("electric", "ground"): 0,
    ("dragon", "fairy"): 0, ("ice", "dragon/flying"): 4, ("grass", "fire/flying"): 0.25, ("ground", "steel/flying"): 0,
    ("bug", "dark"): 2, ("steel", "fairy/none"): 2, ("orcs", "fire"): 1, ("constructor", "fire"): 1,
}  # fmt: skip
# Damage of a move, effect in quarters, roll in percent, whether critical, whether guarded; and what it takes, by hand.
HITS = [
    ([50, 8, 92, False, False], 92), ([50, 8, 92, True, False], 138), ([50, 8, 92, False, True], 46),
    ([50, 1, 85, False, False], 10), ([1, 1, 85, False, False], 1), ([80, 0, 100, True, False], 0),
]  # fmt: skip


def test_types_and_damage_are_those_of_the_games(run):  # noqa: F811
    chart = CARDS["chart"]
    counts = {name: sum(len(kinds.split()) for kinds in table.values()) for name, table in chart.items()}
    assert counts == {"strong": 51, "feeble": 61, "none": 8}  # of 324 pairs, since the sixth generation
    assert {kind for table in chart.values() for pair in table.items() for kind in " ".join(pair).split()} == {*TYPES}
    code = """([facts, chart, hits]) => [
        facts.map(([type, types]) => effectOf(type, types.split("/"), chart) / 4),
        hits.map(([[damage, effect, roll, isCritical, isGuarded]]) =>
            damageOf(damage, { effect, roll, isCritical, isGuarded })),
    ]"""
    found = run({"duel": "damageOf, effectOf"}, code, [[*FACTS], chart, HITS])
    assert found == [[*FACTS.values()], [taken for _, taken in HITS]]


def test_a_duel_follows_from_both_creatures_and_the_choices_and_ends(run):  # noqa: F811
    """Of all types against all, by itself; with guards alone by the last turn; and with choices by hand."""
    code = """([types, cards]) => {
        const fighter = (type, seed) =>
            fighterOf(rulesOf(seed, [type], {}, cards), 1 + (seed % 3), `${type} ${seed}`);
        const play = (sides, choose) => {
            let duel = duelOf(sides, sides.map(({ name }) => name).join());
            while (winnerOf(duel) === undefined) {
                const { sides } = duel, choices = [0, 1].map((side) => choose(duel, side));
                if (sides.some((each, side) => choices[side] === STRONG && !each.isCharged)) throw Error("too early");
                duel = turnOf(duel, choices, cards.chart);
                if (duel.sides.some(({ hp }) => !(hp >= 0))) throw Error("fewer HP than none");
            }
            return [duel.turn, winnerOf(duel), resultOf(duel), duel.events.map((each) => textOf(each, duel)).at(-1)];
        };
        const pairs = types.flatMap((one, i) => types.map((other, j) => [fighter(one, i), fighter(other, 20 + j)]));
        const all = () => pairs.map((sides) => play(sides, (duel, side) => choiceOf(duel, side, cards.chart)));
        return [all(), all(), play(pairs[3], () => GUARD), play(pairs[0], ({ turn }) => turn % 2)];
    }"""
    names = "GUARD, STRONG, choiceOf, duelOf, fighterOf, resultOf, textOf, turnOf, winnerOf"
    found, again, guards, by_hand = run({"duel": names, "trading": "rulesOf"}, code, [TYPES, CARDS])
    assert found == again and max(found)[0] <= 30 and guards[0] == 30 and guards[1] is not None
    assert 4 < sum(turns for turns, *_ in found) / len(found) < 10
    assert 0.4 < sum(winner for _, winner, *_ in found) / len(found) < 0.6
    line = "⚔️ bug 0 lost to bug 20 in 5 turns, 0 of 270 HP left 🔴🔴⚪🔴🔴"
    assert by_hand == [5, 1, line, "bug 20 uses Pollen Prank: 26 HP. bug 0 is out."]


def test_challenges_streaks_eggs_and_quests(run):  # noqa: F811
    probed = {
        "ranker": {"probes": ["color", "tags"]},
        "vocabulary": {"color": ["red", "blue"], "tags": ["fox", "owl"]},
    }
    water = {"conditions": {"type": "water/ghost"}, "seed": 5}
    quests = [[["evolve", "evolve"], ["evolve"]], [["evolve", "evolve"], ["evolve"], []], [["shiny"]]]
    code = """([config, recipes, cards]) => {
        const dates = Array.from({ length: 40 }, (_, day) => new Date(864e5 * (20000 + day)).toISOString());
        const days = dates.map((each) => each.slice(0, 10));
        const typesOf = ({ conditions }) => conditions.type.split("/"), met = { met: days[2], streak: 3 };
        const seen = verdicts({ color: "red", tags: "owl" }, { color: [0, -9], tags: [-2, 2] }, config.vocabulary);
        const eggs = [0, 7].map((streak) => days.filter((_, seed) => isShinyEgg(seed, streak)).length);
        const quests = recipes.map((all) => questsOf(all, ["water", "fire"], typesOf, () => ({ rare: true })));
        return [new Set(days.map((day) => JSON.stringify(challengeOf(day, config)))).size, challengeOf(days[0], {}),
            [2, 3, 4].map((day) => streakOf(met, days[day])), [2, 3, 4].map((day) => afterMet(met, days[day]).streak),
            seen.map(({ seen, share, isMet }) => [seen, Math.round(100 * share), isMet]), eggs,
            quests.map((each) => each.map(([, found]) => found))];
    }"""
    recipes = [[{**water, "makes": makes} for makes in quest] for quest in quests]
    names = "afterMet, challengeOf, isShinyEgg, questsOf, streakOf, verdicts"
    challenges, none, streaks, met, seen, (eggs, sure), found = run({"today": names}, code, [probed, recipes, CARDS])
    assert challenges == 8 and none == {} and streaks == [3, 3, 0] and met == [3, 4, 1]
    assert seen == [["red", 100, True], ["owl", 88, True]] and 1 < eggs < 12 and sure == 40
    assert found == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
