"""The sentences of the report of the data. Each is said only where the numbers bear it out."""

from collections.abc import Callable, Mapping, Sequence

from pokemon_ddpm.data_report.style import GAME_NAMES, Numbers
from pokemon_ddpm.vocabulary import ANY, SIZES

FEW_HELD_OUT = 20
LISTED = 12
SINGULAR = {"are": "is", "have": "has", "touch": "touches"}


def amount(number: int, noun: str, verb: str = "") -> str:
    """`1 picture`, `2 pictures`; with a verb `1 picture has`, `2 pictures have`."""
    plural = f"{number:,} {noun}{'s' * (number != 1)} {verb}".rstrip()
    return plural if number != 1 or not verb else f"1 {noun} {SINGULAR.get(verb, verb + 's')}"


def percent(part: float, whole: float) -> str:
    """A share, with more digits where it is near none or all."""
    share = 100 * part / whole if whole else 0
    return f"{share:.0f} %" if share in (0, 100) or 10 <= share <= 90 else f"{share:.1f} %"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plain(text: str) -> str:
    """Text from the data, without a meaning in Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#$" else letter for letter in text)


def splits(numbers: Numbers) -> list[str]:
    """By evolution line; what can be measured on the held-out parts."""
    parts, shared = numbers["splits"], numbers["lines_in_several_splits"]
    lines = listed([f"{amount(part['lines'], 'line')} in {name}" for name, part in parts.items()])
    said = [f"The split goes by evolution line: {lines}."]
    if len(parts) == 1:
        return [*said, "Nothing is held out, so that on these pictures nothing can tell learning from remembering."]
    if shared:
        said.append(
            f"**{amount(shared, 'line', 'are')} in more than one split**: held-out pictures have relatives there."
        )
    else:
        said.append(
            "No line is in two splits, so that no held-out picture has a relative among the training pictures."
        )
    held_out = [name for name in parts if name != "train"]
    few = [
        name.title()
        for name, found in numbers["types"].items()
        if min(found["splits"][split] for split in held_out) < FEW_HELD_OUT
    ]
    if few:
        types = listed(few) if len(few) <= LISTED else amount(len(few), "type")
        said.append(f"Of {types} there are fewer than {FEW_HELD_OUT} in a held-out part: "
                    "a score of such a type alone says little.")  # fmt: skip
    return said


def games(numbers: Numbers) -> list[str]:
    """What is seen of the creatures, and how often."""
    total, views, finishes = numbers["pictures"], numbers["views"], numbers["finishes"]
    said = [
        f"{percent(views['front'], total)} of the pictures show the front, "
        f"{percent(finishes['normal'], total)} the usual colours."
    ]
    told = [name for name, counts in (("view", views), ("finish", finishes)) if min(counts.values())]
    if told:
        said.append(f"A training on all of them should be told the {listed(told)}; otherwise it draws a mixture.")
    found = {game: each["pictures"] for game, each in numbers["games"].items()}
    if len(found) > 1:
        most, least = max(found, key=found.__getitem__), min(found, key=found.__getitem__)
        said.append(f"Most are of `{most}` ({GAME_NAMES[most]}, {found[most]:,}), fewest of `{least}` "
                    f"({GAME_NAMES[least]}, {found[least]:,}).")  # fmt: skip
    form = numbers["pictures_a_form"]
    if form["max"] >= 2 * form["median"]:
        said.append(f"A form has {form['median']:g} pictures (median), up to {form['max']} ({plain(form['most'])}), "
                    "and those of many count for more in training.")  # fmt: skip
    return said


def types(numbers: Numbers) -> list[str]:
    """How uneven they are, and what a second type changes."""
    found = {name: each for name, each in numbers["types"].items() if each["either"]}
    first = {name: each["first"] for name, each in found.items() if each["first"]}
    most, least = max(first, key=first.__getitem__), min(first, key=first.__getitem__)
    uneven = first[most] / first[least]
    if uneven > 1:
        said = [f"As first type, {most.title()} is the most frequent ({first[most]:,}) and {least.title()} the rarest "
                f"({first[least]:,}): {uneven:.1f} to one."]  # fmt: skip
    else:
        said = [f"Every first type has {amount(first[most], 'picture')}: they are balanced."]
    either = [each["either"] for each in found.values()]
    if max(either) / min(either) < 0.8 * uneven:
        said.append(f"Counted as either type it is {max(either) / min(either):.1f} to one: a condition on both types "
                    "evens out much of it.")  # fmt: skip
    for name, each in found.items():
        if each["second"] >= 5 * max(1, each["first"]):
            said.append(f"{name.title()} is the first type of only {amount(each['first'], 'picture')}, and the second "
                        f"of {each['second']:,}: known by the first type alone it would hardly be seen.")  # fmt: skip
    missing = [name.title() for name, each in numbers["types"].items() if not each["either"]]
    if missing:
        said.append(f"No picture has the type{'s' * (len(missing) > 1)} {listed(missing)}; a model cannot learn them "
                    "from these.")  # fmt: skip
    return said


def pairs(numbers: Numbers) -> list[str]:
    """Why two types are a set, and not a class of their own."""
    found = numbers["pairs"]
    alone = sum(each["alone"] for each in numbers["types"].values())
    said = [f"{percent(alone, numbers['pictures'])} of the pictures have one type (on the diagonal)."]
    if not found["without_order"]:
        return said
    dual = {pair: count for pair, count in found["ordered"].items() if not pair.endswith("/none")}
    most = max(dual, key=dual.__getitem__)
    said.append(f"The others have {amount(found['without_order'], 'pair')}; the most frequent is {most.title()} "
                f"({dual[most]:,}).")  # fmt: skip
    if found["below_ten"] or found["of_one_form"]:
        said.append(f"Pairs of fewer than ten pictures: {found['below_ten']:,}; of a single form: "
                    f"{found['of_one_form']:,}. Those are too few to learn as classes. So each type is learnt by "
                    "itself, from all of its pictures, and a pair is the set of two.")  # fmt: skip
    if found["in_both_orders"]:
        said.append(f"{amount(found['in_both_orders'], 'pair', 'occur')} in both orders, which a set does not tell "
                    "apart.")  # fmt: skip
    return said


def colors_and_shapes(numbers: Numbers) -> list[str]:
    """Which are frequent, and where no colour is said."""
    colors = {name: count for name, count in numbers["colors"].items() if name != ANY and count}
    shapes = {name: count for name, count in numbers["shapes"].items() if count}
    said = []
    for noun, counts in (("colour", colors), ("shape", shapes)):
        if len(counts) > 1:
            most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
            said.append(f"The most frequent {noun} is {most} ({counts[most]:,}), the rarest {least} "
                        f"({counts[least]:,}).")  # fmt: skip
    unknown = numbers["colors"][ANY]
    if unknown:
        said.append(f"Of {amount(unknown, 'picture')} ({percent(unknown, numbers['pictures'])}) no colour is said, "
                    "as the label is of the species and they have other colours; in training their condition is "
                    f"`{ANY}`.")  # fmt: skip
    return said


def heights(numbers: Numbers) -> list[str]:
    """From words for sizes to what sizes mean on a picture."""
    found, sizes = numbers["heights"], numbers["heights"]["sizes"]
    if "p50" not in found:
        return ["No height is known."]
    said = [f"Heights go from {found['min'] / 10:g} to {found['max'] / 10:g} m (median {found['p50'] / 10:g} m)."]
    most, least = (chosen(SIZES, key=sizes.__getitem__) for chosen in (max, min))
    said.append(f"As a condition they are five words in even steps of the logarithm, whose limits are the dashed "
                f"lines; most pictures are {most} ({sizes[most]:,}), fewest {least} ({sizes[least]:,}).")  # fmt: skip
    if found["correlation_with_longest_side"] is not None:
        correlation = found["correlation_with_longest_side"]
        said.append(f"The logarithm of the height and the longest side on the picture correlate by {correlation:.2f}: "
                    + ("size can be seen." if correlation > 0.5 else "size can hardly be seen."))  # fmt: skip
    if sizes["unknown"]:
        said.append(f"Of {amount(sizes['unknown'], 'picture')} no height is known.")
    return said


def geometry(numbers: Numbers) -> list[str]:
    """Why sprites are cropped, and what a resolution costs."""
    found, total = numbers["geometry"], numbers["pictures"]
    said = [
        f"The canvas is {listed(list(found['canvases'])[:LISTED])} px, the box around the sprite "
        f"{found['width']['p50']:g} px wide and {found['height']['p50']:g} px high (medians).",
        f"White are {found['white_percent']:.0f} % of all pixels, and {found['white_percent_at_32']:.0f} % once the "
        "sprites are cropped and brought to 32 px: cropping spares a network much that is empty."
        if found["white_percent_at_32"] < found["white_percent"]
        else f"White are {found['white_percent']:.0f} % of all pixels.",
    ]
    reduced = {size: percent(count, total) for size, count in found["reduced"].items()}
    said.append(f"At 32 px {reduced['32']} of the sprites have to be reduced, at 64 px {reduced['64']}; the others "
                "keep their pixels.")  # fmt: skip
    if found["at_edge"]:
        said.append(f"{amount(found['at_edge'], 'sprite', 'touch')} the edge of the canvas.")
    if found["empty"]:
        said.append(f"**{amount(found['empty'], 'picture', 'show')} nothing but white.**")
    return said


def palettes(numbers: Numbers) -> list[str]:
    """How few colours there are, and how a drawn sprite comes to as few."""
    found = numbers["palettes"]
    most = int(found["max"])
    said = [f"A picture has {found['p50']:g} colours beside white (median; {found['min']:g} to {most:,})."]
    if most <= 64:
        said.append("A network draws many more shades than that; `pokemon-ddpm generate --palette "
                    f"{max(2, most)}` brings a sprite back to so few.")  # fmt: skip
    else:
        said.append("Such numbers are not those of pixel art.")
    return said


def duplicates(numbers: Numbers) -> list[str]:
    """How many pictures are there twice, and whether that spoils a measurement."""
    found, total = numbers["duplicates"], numbers["pictures"]
    if not found["groups"]:
        return ["No two pictures have the same pixels."]
    differ = found["groups_that_differ_in"]
    said = [
        f"{found['distinct']:,} of {total:,} pictures are distinct; "
        f"{amount(found['redundant'], 'picture', 'repeat')} one of them to the pixel "
        f"({amount(found['groups'], 'group')})."
    ]
    games = [key for key in found["games"] if " + " in key]
    if games:
        said.append(f"Mostly a game has taken over another one's sprite: in {amount(differ['game'], 'group')}, most "
                    f"often {games[0]} ({found['games'][games[0]]:,})."
                    if differ["game"] > found["groups"] / 2
                    else f"In {amount(differ['game'], 'group')} the games differ.")  # fmt: skip
    if differ["split"]:
        said.append(f"**{amount(differ['split'], 'group', 'have')} pictures in two splits**: those that are held out "
                    "are known from training.")  # fmt: skip
    else:
        said.append("None is in two splits, so that they do not spoil a measurement.")
    if found["groups_of_different_types"]:
        said.append(f"**{amount(found['groups_of_different_types'], 'group', 'have')} different types** for equal "
                    "pixels.")  # fmt: skip
    if found["redundant_within_splits"]:
        said.append(f"`--deduplicate` in training (`load_sprites(..., deduplicate=True)`) leaves out "
                    f"{found['redundant_within_splits']:,}.")  # fmt: skip
    return said


def averages(numbers: Numbers) -> list[str]:
    """What is left of a type in its mean."""
    found = {name: each for name, each in numbers["types"].items() if each["shown"] >= FEW_HELD_OUT}
    said = ["The mean of all pictures of a first type, from the front and in usual colours, as a training at 32 px "
            "sees them."]  # fmt: skip
    if len(found) > 1:
        most, least = (chosen(found, key=lambda name: found[name]["from_mean"]) for chosen in (max, min))
        said.append(f"That of {most.title()} is the farthest from the mean of all types, that of {least.title()} the "
                    "nearest: the former tells more about a picture than the latter. (Of types with at least "
                    f"{FEW_HELD_OUT} pictures.)")  # fmt: skip
    return said


def corrections(numbers: Numbers) -> list[str]:
    """A list of what is not as the archive has it."""
    found, any_color = numbers["corrections"], numbers["corrections"]["color_any"]
    items = []
    if found["exchanged"]:
        folders = listed([f"{plain(old)} → {plain(new)}" for old, new in found["exchanged_folders"].items()])
        items.append(f"**Exchanged folders**: {amount(found['exchanged'], 'picture', 'have')} the labels of what they "
                     f"show, not those of their folder ({folders}).")  # fmt: skip
    if found["faulty"]:
        files = ", ".join(f"`{path.removeprefix('sprites/')}`" for path in found["faulty_pictures"][:LISTED])
        more = ", ..." * (found["faulty"] > LISTED)
        items.append(f"**Wrong pictures**: {amount(found['faulty'], 'picture', 'show')} something other than the "
                     f"labels say; `--exclude_faulty` in training leaves out {files}{more}.")  # fmt: skip
    if any_color["shiny"] or any_color["regional"]:
        items.append(f"**Colour**: {amount(any_color['shiny'], 'shiny picture')} and {any_color['regional']:,} more "
                     "of Alola and Galar forms do not have the colour of their species, and are labelled "
                     f"`{ANY}`.")  # fmt: skip
    if found["weight_unknown"]:
        items.append(f"**Weight**: of {amount(found['weight_unknown'], 'picture')} no credible one is known, and none "
                     "is given.")  # fmt: skip
    return ["\n".join(f"- {item}" for item in items) if items else "Nothing had to be corrected."]


Sentences = Callable[[Numbers], list[str]]
# Title -> its figure, what the figure shows, what is said.
SECTIONS: Mapping[str, tuple[str, str, Sentences]] = {
    "Splits": ("splits.png", "share of each first type in each split", splits),
    "Views, finishes and games": ("games.png", "pictures by game, view and finish", games),
    "Types": ("types.png", "pictures by first and second type", types),
    "What a type looks like": ("averages.png", "mean picture of each type", averages),
    "Pairs of types": ("pairs.png", "pictures by first and second type, as a table", pairs),
    "Colours and shapes": ("colors-shapes.png", "pictures by colour and by shape", colors_and_shapes),
    "Sizes": ("heights.png", "pictures by height, with the limits of the words for it", heights),
    "Boxes and ink": ("geometry.png", "width and height of the sprites, and the share of ink", geometry),
    "Palettes": ("palettes.png", "number of colours, in all and by game", palettes),
    "Duplicates": ("duplicates.png", "in what equal pictures differ", duplicates),
}
