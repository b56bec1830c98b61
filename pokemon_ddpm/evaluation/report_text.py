"""The report of an evaluation in words and tables. It is made of the numbers alone, as `report.json` holds them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pokemon_ddpm.evaluation.comparison import Distances
from pokemon_ddpm.markdown import table

Numbers = Mapping[str, Any]

DISTANCES = {each.name: each.metadata["title"] for each in fields(Distances) if each.metadata}

UNITS = {
    "red": "grey levels", "green": "grey levels", "blue": "grey levels", "saturation": "0 to 1",
    "ink": "share of the pixels", "width": "pixels", "height": "pixels", "colors": "colours",
}  # fmt: skip
WHERE = {"train": "training pictures", "held-out": "held-out pictures"}
NAMED = "closest-names.png"
FIGURES = {
    "samples.png": "some of the samples, by type if they say what they were asked for",
    "scale.png": "KID of worse and worse held-out pictures, and that of the samples",
    "novelty.png": "distances to the nearest training picture",
    "closest.png": "the twenty samples that are nearest to training pictures, above these",
    NAMED: "the twenty samples that are nearest to training pictures, with the names of these",
    "types.png": "KID and obedience by type",
}


def report(numbers: Numbers, figures: Sequence[str]) -> str:
    """The page, in Markdown.

    Args:
        numbers: What `report.json` holds.
        figures: Which of `FIGURES` there are.
    """

    def figure(name: str) -> list[str]:
        return [f"![{FIGURES[name]}]({name})"] if name in figures else []

    blocks = [f"# Evaluation of {numbers['name']}", *figure("samples.png"), "## In short", _listed(in_short(numbers))]
    blocks += ["## Distance", DISTANCE, _distances(numbers), *figure("scale.png"), SCALE, _statistics(numbers)]
    blocks += ["## Novelty", NOVELTY, _novelty(numbers), *figure("novelty.png"), *figure("closest.png")]
    blocks.append(" ".join([CLOSEST, *[CLOSEST_NAMED] * (NAMED in figures)]))
    if numbers["obedience"]:
        blocks += ["## Obedience", OBEDIENCE, _obedience(numbers)]
    if numbers["types"]:
        blocks += ["## By type", BY_TYPE, *figure("types.png"), _types(numbers)]
    blocks += ["## Likelihood", *_likelihood(numbers), "## How it was measured", _about(numbers)]
    care = sorted(set(_warnings(numbers)))
    if care:
        blocks += ["## Read with care", _listed(care)]
    blocks.append("All numbers, with their intervals, are in [report.json](report.json).")
    return "\n\n".join(blocks) + "\n"


DISTANCE = (
    "KID leads, since it is unbiased at any number of pictures. FID, Wasserstein's distances, precision and recall "
    "depend on how many there are (n and m), so compare rows of equal numbers: what `samples` reach with what real "
    "pictures reach. Precision and recall take as many of both as the smaller set has, and exact Wasserstein up to "
    "eight pairs of 256. Intervals are of 95 %; those of FID and of the other Wasserstein distances are for the "
    "distance without its bias, so that a figure that is mostly bias lies above its own. All take pictures for "
    "independent: where held-out ones resemble each other, they are too narrow. Figures of different networks do not "
    "compare."
)
SCALE = (
    "The scale: real held-out pictures, made worse and worse, beside the training pictures. Where the samples' line "
    "meets a curve, they are as far from the training pictures as held-out ones so damaged."
)
NOVELTY = (
    "How near the nearest training picture is, over mirror images and, in pixels, shifts by up to two. Held-out "
    "pictures, of other evolution lines, show what new pictures have; 5 % of them are nearer than the threshold. "
    "If samples were as new as they are, the share would lie in the range of chance. More may be copies, or pictures "
    "with less on them than real ones: white paper is near to every small sprite. The closest pairs show which."
)
CLOSEST = (
    "`closest.png` shows training pictures, which may belong to others: mind that before you pass this folder on."
)
CLOSEST_NAMED = f"`{NAMED}` has the names in place of these pictures."
OBEDIENCE = (
    "A sample obeys if the network for sprites sees in it all the words that it was asked for. `real` is how often "
    "it sees in held-out pictures what they are, which is what can be expected of this network; `chance` is what a "
    "model would reach that does not listen; `majority` is the share if all showed the words most asked for. Of what "
    "is marked with *, the network sees no more in real pictures than if it always said the commonest word: it cannot "
    "judge that."
)
BY_TYPE = (
    "Samples that were asked for a type, also as one of two, beside the training pictures that have it. `floor` is "
    "what held-out pictures of the type reach, which come from few evolution lines and so are often farther away."
)


def in_short(numbers: Numbers) -> list[str]:
    """What the figures say, a sentence for each question."""
    said = [_said_of_distance(numbers), *_said_of_novelty(numbers)]
    kind = numbers["obedience"].get("type")
    if kind:
        said.append(
            f"**Obedience.** In {percent(kind['obeyed'])} of the samples that were asked for types the network for "
            f"sprites sees all of them; {_percent(kind['chance'])} would be chance. In real held-out pictures it sees "
            f"all their types in {percent(kind['real'])}."
        )
    return [*said, *_said_of_likelihood(numbers)]


def _said_of_distance(numbers: Numbers) -> str:
    ours, floor = (row(numbers, name, "train")["kid"] for name in ("all samples", "held-out"))
    said = (
        f"**Distance.** KID to the training pictures is {estimate(ours)}; that of real held-out pictures is "
        f"{estimate(floor)}."
    )
    blur = equal_strength(numbers["corruptions"]["blur"], ours["value"])
    shuffled = equal_strength(numbers["corruptions"]["shuffle_patches"], ours["value"])
    if blur is not None and shuffled is not None:
        # Rounding undoes the least blur, so that within the first step nothing can be interpolated.
        least = numbers["corruptions"]["blur"][1]["strength"]
        pixels = f"{max(blur, least) * numbers['resolution'] / 8:.2f} pixels"
        said += (
            f" That is as far as held-out pictures blurred by {'less than ' * (blur < least)}{pixels}, or with "
            f"{100 * shuffled:.0f} % of their patches shuffled."
        )
    elif ours["value"] <= floor["value"]:
        said += " The samples are no farther than new real pictures, which are of other creatures."
    return said


def _said_of_novelty(numbers: Numbers) -> Iterator[str]:
    for name, found in numbers["novelty"].items():
        low, high = _percent(found["chance_low"]), _percent(found["chance_high"])
        verdict = (
            "more than chance has: **copies, or pictures plainer than real ones**; see the closest pairs"
            if found["memorises"]
            else "no sign of copying from these"
        )
        copies = found["copies"]
        exact = f" {copies:,} equal a training picture." if copies else ""
        yield (
            f"**Novelty by {name}.** {percent(found['nearer'])} of the samples are nearer to a training picture than "
            f"the nearest 5 % of held-out ones, where chance gives {low} to {high}: {verdict}.{exact}"
        )


def _said_of_likelihood(numbers: Numbers) -> Iterator[str]:
    found = numbers["likelihood"]
    if found:
        gap, error = found["difference"], found["difference_standard_error"]
        verdict = "the model knows these by heart in part" if gap > 2 * error else "that may be chance"
        yield (
            f"**Overfitting.** Held-out pictures cost {gap:.3f} ± {error:.3f} bits a dimension more than training "
            f"pictures (± standard error): {verdict}."
        )


def equal_strength(points: Sequence[Numbers], kid: float) -> float | None:
    """The strength of a corruption at which held-out pictures are first at a distance, interpolated linearly.

    None if the distance is below the whole curve or above it.
    """
    if kid < points[0]["kid"]:
        return None
    for one, other in zip(points, points[1:], strict=False):
        if one["kid"] <= kid <= other["kid"]:
            step = other["kid"] - one["kid"]
            share = (kid - one["kid"]) / step if step else 0.0
            return one["strength"] + share * (other["strength"] - one["strength"])
    return None


def row(numbers: Numbers, name: str, to: str) -> Numbers:
    """One row of the distances."""
    return next(each for each in numbers["distances"] if (each["name"], each["to"]) == (name, to))


def estimate(found: Numbers) -> str:
    """A figure with its interval, where it has one: `0.18 (0.10 to 0.27)`."""
    if found["value"] is None:
        return "-"
    text = _digits(found["value"])
    return text if found["low"] is None else f"{text} ({_digits(found['low'])} to {_digits(found['high'])})"


def percent(found: Numbers | None) -> str:
    """A share with its interval: `26 % (22 to 30)`."""
    if found is None or found["value"] is None:
        return "-"
    low, high = _percent(found["low"]).removesuffix(" %"), _percent(found["high"]).removesuffix(" %")
    return f"{_percent(found['value'])} ({low} to {high})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def _digits(value: float) -> str:
    """Two decimals below ten, fewer above, three below one tenth."""
    size = abs(value)
    return f"{value:.3f}" if size < 0.1 else f"{value:.2f}" if size < 10 else f"{value:.1f}"


def _distances(numbers: Numbers) -> str:
    rows = [
        [each["name"], WHERE[each["to"]], f"{each['kid']['n']:,}", f"{each['kid']['m']:,}"]
        + [estimate(each[key]) for key in DISTANCES]
        for each in numbers["distances"]
    ]
    return table(["pictures", "compared with", "n", "m", *DISTANCES.values()], rows, words=2)


def _statistics(numbers: Numbers) -> str:
    """How far values must move on average, of the samples and of real pictures, to be distributed as in training."""
    ours, real = (row(numbers, name, "train")["statistics"] for name in ("samples", "held-out"))
    rows = [[name, UNITS[name], estimate(ours[name]), estimate(real[name])] for name in ours]
    return "How far the pictures' statistics are from the training pictures' (exact Wasserstein):\n\n" + table(
        ["statistic", "unit", "samples", "held-out"], rows, words=2
    )


def _novelty(numbers: Numbers) -> str:
    rows = [
        [
            name, f"{found['n']:,}", f"{found['m']:,}", percent(found["nearer"]),
            f"{_percent(found['chance_low'])} to {_percent(found['chance_high'])}", _digits(found["threshold"]),
            _digits(found["median"]), _digits(found["held_out_median"]), f"{found['copies']:,}",
        ]
        for name, found in numbers["novelty"].items()
    ]  # fmt: skip
    head = ["by", "n", "held-out", "nearer than the threshold", "chance", "threshold", "median", "median of held-out",
            "equal"]  # fmt: skip
    return table(head, rows)


def _obedience(numbers: Numbers) -> str:
    rows = []
    for name, found in numbers["obedience"].items():
        real = found["real"]
        row = [name + "*" * (not judges(name, found)), f"{found['obeyed']['n']:,}", percent(found["obeyed"])]
        row += [percent(real), f"{real['n']:,}" if real else "-"]
        rows.append([*row, _percent(found["chance"]), _percent(found["majority"])])
    return table(["asked for", "n", "obeyed", "real", "n of real", "chance", "majority"], rows)


def judges(attribute: str, found: Numbers) -> bool:
    """Whether the network knows more of an attribute than its commonest word, as held-out pictures show.

    Of types, of which a picture has one or two, that is not so easily told.
    """
    counts = [each["real"]["n"] for each in found["by_word"].values() if each["real"]]
    return attribute == "type" or not counts or found["real"]["low"] > max(counts) / found["real"]["n"]


def _types(numbers: Numbers) -> str:
    words = numbers["obedience"].get("type", {}).get("by_word", {})
    rows = []
    for name, found in numbers["types"].items():
        kid, floor, obeyed = found["kid"], found["floor"], words.get(name)
        cells = [percent(obeyed["obeyed"]), percent(obeyed["real"]), _percent(obeyed["chance"])] if obeyed else []
        rows.append(
            [name, f"{kid['n']:,}", f"{kid['m']:,}", estimate(kid), estimate(floor), f"{floor['n']:,}", *cells]
        )
    head = ["type", "n", "m", "KID", "floor", "n of floor", *(["obeyed", "real", "seen in any"] if words else [])]
    return table(head, rows)


def _likelihood(numbers: Numbers) -> list[str]:
    found = numbers["likelihood"]
    if not found:
        return [f"Not measured: {numbers['no_likelihood']}"]
    rows = [
        [WHERE[name], f"{found[name]['count']:,}", f"{found[name]['mean']:.3f} ± {found[name]['standard_error']:.3f}"]
        for name in WHERE
    ]
    gap = f"{found['difference']:.3f} ± {found['difference_standard_error']:.3f}"
    return [
        "The variational bound on the negative log-likelihood, ± standard error. The difference is the overfitting.",
        table(["", "n", "bits a dimension"], [*rows, ["difference", "", gap]]),
    ]


def _about(numbers: Numbers) -> str:
    rows = [[name.replace("_", " "), _said(value)] for name, value in numbers["about"].items() if value is not None]
    return table(["", ""], rows)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) if value else "-"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _warnings(value: Any) -> Iterator[str]:
    """All that the figures warn of, wherever they stand; of types, only that there are few."""
    for key, each in value.items() if isinstance(value, Mapping) else ():
        if key == "warnings":
            yield from each
        elif key == "types":
            few = [name for name, found in each.items() if found["kid"]["warnings"] or found["floor"]["warnings"]]
            if few:
                yield f"KID by type is very uncertain where there are fewer than 100 pictures: {', '.join(few)}."
        else:
            yield from _warnings(each)
    for each in value if isinstance(value, list) else ():
        yield from _warnings(each)


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
