"""`SpriteConditioner`: from the attributes of a sprite to the class embedding of a `UNet2DModel`.

This file imports nothing of the project, since a saved model carries a copy of it.
"""

import difflib
import hashlib
import keyword
import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from reprlib import repr as short_repr
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

TypeSet = str | int | tuple[str | int, ...] | None  # one or two types; see `SpriteConditioner.type_ids`
TypeBlend = TypeSet | Mapping[TypeSet, float]
AttributeValue = str | bool | Sequence[str] | None

NONE = "none"
ANY = "any"
TAGS = "tags"  # the attribute whose value is a set: words for what an image shows
SOURCE = "source"  # the attribute that no image is without: where images of one style come from
RESERVED_CHARACTERS = "/=,"  # "fire/flying", and on the command line "fire=0.7,water=0.3"
MAX_ATTRIBUTES, MAX_VALUES, MAX_LENGTH = 64, 10_000, 100  # values of one attribute; characters of a name
MAX_LISTED = 20  # names in a message
POKEMON_TYPES = frozenset(
    "bug dark dragon electric fairy fighting fire flying ghost grass ground ice normal poison psychic rock steel "
    "water".split()
)
MAX_ROWS = 100_000  # of training conditions
MIN_LINES = 4
COLOR_LINES = 3
DRAWN_TAGS = 2
# Of `encode` and of the pipeline's call, beside which attributes are passed.
ARGUMENTS = frozenset(
    """self types pokemon_type num_images_per_type num_inference_steps guidance_scale image strength generator latents
    class_embeddings output_type return_dict callback_on_step_end callback_on_step_end_tensor_inputs class_labels
    attributes""".split()
)


def is_attribute_name(name: str) -> bool:
    """Whether a name can be that of an attribute, which is an argument beside others."""
    usable = name.isidentifier() and not keyword.iskeyword(name) and len(name) <= MAX_LENGTH
    return usable and name not in ARGUMENTS


def check_vocabulary(vocabulary: Mapping[str, Sequence[str]]) -> None:
    """Refuses names of folders, metadata and models of strangers that a call, a command line or a page cannot take."""
    if not vocabulary.get("type"):
        raise ValueError("The vocabulary must contain 'type' with at least one value.")
    wrong = [repr(name)[:MAX_LENGTH] for name in vocabulary if not is_attribute_name(name)]
    if wrong or len(vocabulary) > MAX_ATTRIBUTES:
        rule = f"Python identifiers of at most {MAX_LENGTH} characters and no arguments of the pipeline"
        given = ", ".join(wrong[:3]) or len(vocabulary)
        raise ValueError(f"A model can have {MAX_ATTRIBUTES} attributes, whose names are {rule}; there are {given}.")
    for attribute, values in vocabulary.items():
        what = "class names" if attribute == "type" else f"values of {attribute}"
        reserved = (*[NONE] * (attribute == "type"), ANY, "all")  # the last is of the command line
        if len(values) > MAX_VALUES:
            raise ValueError(f"There are {len(values):,} {what}, but at most {MAX_VALUES:,} are possible.")
        space = " " * (attribute == TAGS)  # between tags
        forms = [unicodedata.normalize("NFC", value).lower() for value in values]  # `_position` compares these.
        unusable = {form for form, count in Counter(forms).items() if count > 1} | {"", *reserved}
        wrong = []
        for value, form in zip(values, forms, strict=True):
            is_plain = value.isprintable() and value == value.strip() and len(value) <= MAX_LENGTH
            if not is_plain or form in unusable or {*value} & {*RESERVED_CHARACTERS, *space}:
                wrong.append(repr(value)[:MAX_LENGTH])
        if wrong:
            raise ValueError(
                f"Unusable {what}: {', '.join(wrong[:MAX_LISTED])}. A name must be printable with at most "
                f"{MAX_LENGTH} characters, must not {'contain' if space else 'begin or end with'} a space, contain "
                f"any of {' '.join(RESERVED_CHARACTERS)} or be {', '.join(reserved)}, and must differ from the others "
                "by more than case or the form of Unicode. Rename the sub-folders or values, remove the column, or "
                "use cast_column(COLUMN, ClassLabel(names=[...])) of a Dataset."
            )


def _table(attribute: str) -> str:
    # A module cannot have a child named "type", which is a method of every module.
    return f"{attribute}_embedding"


def _position(attribute: str, value: str, known: Sequence[str]) -> int:
    """The id of a value; case, surrounding space and the form of Unicode are ignored."""
    *lowered, wanted = (unicodedata.normalize("NFC", name).lower() for name in (*known, value.strip()))
    if wanted in lowered:
        return lowered.index(wanted)
    begun = [name for name in lowered if wanted and name.startswith(wanted)]
    close = begun or difflib.get_close_matches(wanted, lowered, n=1)
    hint = f"Did you mean {known[lowered.index(close[0])]!r}? " if close else ""
    listed = ", ".join(known[:MAX_LISTED]) + ", ..." * (len(known) > MAX_LISTED)
    raise ValueError(f"Unknown {attribute} {short_repr(value)}. {hint}Known: {listed}.")


def _number(key: str) -> int:
    """A number for a key: the first six bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big")


def _pick(rows: np.ndarray, key: str) -> int:
    """The position of one of the rows (R, F), by a key: of a random line, a random row."""
    number, lines = _number(key), np.unique(rows[:, 0])
    of_line = np.flatnonzero(rows[:, 0] == lines[number % len(lines)])
    return int(of_line[number // len(lines) % len(of_line)])


def _some(words: set[str], key: str) -> list[str]:
    """Up to `DRAWN_TAGS` of the words, by a key."""
    return sorted(words, key=lambda word: _number(f"{key}/{word}"))[:DRAWN_TAGS]


def _lift(rows: np.ndarray, all_rows: np.ndarray, row: np.ndarray, column: int) -> float:
    """How many times as frequent a row's value is in the rows as in all rows."""
    count, total = (int((table[:, column] == row[column]).sum()) for table in (rows, all_rows))
    return count / total


def tags_embedding(table: Tensor, tags: Tensor) -> Tensor:
    """The sum of the rows of tags, bool (B, V), over the square root of their number; without any the last, (B, D)."""
    given = tags.to(table.dtype)
    count = given.sum(dim=1, keepdim=True)
    return (given @ table[:-1]) * count.clamp(min=1).rsqrt() + (count == 0) * table[-1]


class SpriteConditioner(ModelMixin, ConfigMixin):
    """Embeds the conditions of a sprite, as a text encoder embeds a prompt.

    Each attribute has an embedding table, with `any` (the value is not given) in the last row, and the embeddings of
    all attributes are summed. The types are a set of one or two in two slots that share one table, so their order does
    not matter; the row before `any` is `none` (there is no second type). "tags" are a set, too, of any number: the sum
    of their embeddings over the square root of this number. A "source" that is not given is the first one.

    Args:
        vocabulary: Attribute -> its values; the position of a value is its id. Must contain "type"; for the names see
            `check_vocabulary`.
        embedding_dim: Width D of the embedding, equal to that of the network's time embedding.
        augmentation_dim: Number of augmentation parameters of a training image (Karras et al. 2022, appendix F). Their
            linear map has no bias and starts at zero, so zeros, as at sampling, change nothing.
        training_conditions: What `draw` draws from: "attributes"; "drawn", those of them that are drawn; and "rows",
            in each the ids of a training image as a text, "line type type attribute ...". With tags also "tags", their
            ids in each row, and "build", those of which every creature has some. None draws nothing.
        has_types: Whether the classes are Pokémon types, not those of other images; None if all types are among them.

    Raises:
        ValueError: If the vocabulary or the training conditions cannot be used; and by all methods for an attribute or
            a value that is unknown or impossible.
    """

    config_name = "config.json"
    sets, never_dropped = frozenset({TAGS}), frozenset({SOURCE})

    @register_to_config
    def __init__(
        self,
        vocabulary: Mapping[str, list[str]],
        embedding_dim: int,
        augmentation_dim: int = 0,
        training_conditions: Mapping[str, list[str]] | None = None,
        has_types: bool | None = None,
    ):
        super().__init__()
        check_vocabulary(vocabulary)
        rows = {attribute: len(values) + 1 + (attribute == "type") for attribute, values in vocabulary.items()}
        self.tables = nn.ModuleDict({_table(name): nn.Embedding(count, embedding_dim) for name, count in rows.items()})
        # Two slots for the types and one for every other attribute: the sum starts with unit variance.
        for table in self.tables.values():
            nn.init.normal_(table.weight, std=(len(self.tables) + 1) ** -0.5)
        self.augmentation_embedding = None
        if augmentation_dim:
            self.augmentation_embedding = nn.Linear(augmentation_dim, embedding_dim, bias=False)
            nn.init.zeros_(self.augmentation_embedding.weight)
        self._rows, self._tags = self._read_rows(training_conditions or {})

    def _read_rows(self, table: Mapping[str, list[str]]) -> tuple[np.ndarray, list[set[int]]]:
        """The rows of `training_conditions`, int64 (R, 3 + number of attributes), and the tags of each."""
        limits = self.any_ids
        if not table:
            return np.zeros((0, 3), dtype=np.int64), []
        try:
            numbers = [[int(number) for number in row.split()] for row in table["rows"][: MAX_ROWS + 1]]
            # Not a tensor, since models are built on the meta device.
            rows = np.array(numbers, dtype=np.int64).reshape(-1, 3 + len(table["attributes"]))
            most = [2**53, *[limits["type"]] * 2, *(limits[name] for name in table["attributes"])]
            valid = 0 < len(rows) <= MAX_ROWS and set(table["drawn"]) <= {*table["attributes"]} - {"type", TAGS}
            tags = [{int(number) for number in row.split()} for row in table.get("tags", [""] * len(rows))]
            valid &= len(tags) == len(rows) and {*table.get("build", ())} <= {*self.config.vocabulary.get(TAGS, ())}
            valid &= TAGS not in table or TAGS in limits and "build" in table
            valid &= all(0 <= number < limits.get(TAGS, 0) for number in set().union(*tags))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            valid = False
        if not (valid and (rows >= 0).all() and (rows <= most).all()):
            raise ValueError("The training_conditions do not fit the vocabulary; remove them, and nothing is drawn.")
        return rows, tags

    @property
    def vocabulary(self) -> dict[str, list[str]]:
        """Attribute -> its values in the order of their ids; attributes in alphabetical order."""
        # Saving sorts the attributes, and a sum in another order would differ in its last bits.
        return {attribute: list(values) for attribute, values in sorted(self.config.vocabulary.items())}

    @property
    def has_types(self) -> bool:
        """Whether the classes are Pokémon types, not those of other images."""
        given = self.config.get("has_types")
        return {*self.config.vocabulary["type"]} >= POKEMON_TYPES if given is None else bool(given)

    @property
    def argument(self) -> str:
        """The name of the pipeline's argument: "pokemon_type" if it has types, otherwise "class_labels"."""
        return "pokemon_type" if self.has_types else "class_labels"

    @property
    def none_id(self) -> int:
        """Id of `none` in the table of types."""
        return len(self.config.vocabulary["type"])

    @property
    def any_ids(self) -> dict[str, int]:
        """Attribute -> the id of `any`, in the order of `vocabulary`."""
        return {attribute: self.tables[_table(attribute)].num_embeddings - 1 for attribute in self.vocabulary}

    def type_ids(self, pokemon_type: TypeSet) -> tuple[int, int]:
        """The ids of the two slots: of a type, two ("fire/flying" or a pair), "fire/none", an id, or None for any."""
        given = tuple(pokemon_type.split("/")) if isinstance(pokemon_type, str) else pokemon_type
        parts = given if isinstance(given, tuple) else (ANY if given is None else given,)
        ids, any_id = [self._type_id(part) for part in parts], self.none_id + 1
        first, second = [*ids, any_id, any_id][:2]
        if len(ids) not in (1, 2) or min(first, second) == self.none_id or first == second != any_id:
            kinds = f"one {'type' if self.has_types else 'class'}, two different ones, or one and {NONE!r}"
            raise ValueError(f"{self.argument} must be {kinds}, not {short_repr(pokemon_type)}.")
        return first, second

    def _type_id(self, name: Any) -> int:
        names, count = [*self.config.vocabulary["type"], NONE, ANY], self.none_id
        if isinstance(name, str):
            return _position("type" if self.has_types else "class", name, names)
        number = name.item() if getattr(name, "ndim", 1) == 0 else name  # numpy's and torch's scalars
        if type(number) is not int or number not in range(count):
            ids, given = f"ids from 0 ({names[0]}) to {count - 1} ({names[count - 1]})", short_repr(name)
            raise ValueError(f"{self.argument} takes names, {ids}, pairs, a list of these or None, not {given}.")
        return int(number)

    def type_blend(self, pokemon_type: TypeBlend) -> list[tuple[float, tuple[int, int]]]:
        """The types of one entry, as in `type_ids` or a blend {"fire": 0.7, "water": 0.3}; the weights sum to 1."""
        if not isinstance(pokemon_type, Mapping):
            return [(1.0, self.type_ids(pokemon_type))]
        weights = list(pokemon_type.values())
        are_weights = all(isinstance(w, Real) and not isinstance(w, bool) and not w < 0 for w in weights)
        if not (are_weights and 0 < (total := sum(weights)) < math.inf):
            given = short_repr(pokemon_type)
            raise ValueError(f"The weights of a blend must be 0 or more with a positive sum, not {given}.")
        return [(float(weight / total), self.type_ids(part)) for part, weight in pokemon_type.items()]

    def attribute_id(self, attribute: str, value: str | bool | None) -> int:
        """The id of a value of an attribute other than type and tags; None is `any`, and a bool "no" or "yes"."""
        if attribute in ("type", TAGS) or attribute not in self.config.vocabulary:
            known = ", ".join(self.argument if name == "type" else name for name in self.vocabulary)
            raise ValueError(f"{attribute[:MAX_LENGTH]} is no condition of this model; its conditions are {known}.")
        if value is None or isinstance(value, bool):
            value = {None: ANY, True: "yes", False: "no"}[value]
        position = _position(attribute, str(value), [*self.config.vocabulary[attribute], ANY])
        return 0 if attribute == SOURCE and position == self.any_ids[SOURCE] else position

    def tag_ids(self, tags: str | Sequence[str] | None) -> list[int]:
        """The ids of tags, each once: words, one text with commas or spaces between, "any" or None for none."""
        given = [tags] if isinstance(tags, str) else [] if tags is None else tags
        if not (isinstance(given, list | tuple | set) and all(isinstance(word, str) for word in given)):
            raise ValueError(f"{TAGS} must be words, a list of words, or None, not {short_repr(tags)}.")
        words, known = " ".join(given).replace(",", " ").split(), self.config.vocabulary.get(TAGS, [])
        if words and not known:
            self.attribute_id(TAGS, None)  # says which conditions there are
        ids = [_position("tag", word, [*known, ANY]) for word in words]
        return sorted({*ids} - {len(known)})

    def draw(self, pokemon_type: TypeBlend, given: Mapping[str, Any], seed: int) -> dict[str, str]:
        """Values of attributes that are not given, from a model's training images; the same for the same seed.

        Of "any" shape, a network makes the mean of all shapes. What is drawn first need not be averaged (Ramesh et al.
        2022, section 2.2; Li et al. 2024). Among the rows that meet most of what is given, of `MIN_LINES` evolution
        lines or more, the color comes from one line and all else from another, so that no species is copied. The color
        is that of `COLOR_LINES` lines that is most typical of these rows: it is more frequent there than in all rows.
        Of tags as many as `DRAWN_TAGS` come from a row of the drawn shape, since few bodies have them all, and as many
        words for the build from the second line. Of a blend the type with the largest weight counts; "any" is given,
        too.

        Returns:
            Attribute -> value, perhaps "any" where it is unknown; empty for models without training conditions.
        """
        table = self.config.training_conditions
        if not table:
            return {}
        any_ids, columns = self.any_ids, {name: 3 + number for number, name in enumerate(table["attributes"])}
        _, slots = max(self.type_blend(pokemon_type), key=lambda part: part[0])
        asked = {name: value for name, value in given.items() if value is not None and name not in self.sets}
        wanted = {name: self.attribute_id(name, value) for name, value in asked.items()}
        met = np.zeros(len(self._rows), dtype=int)
        for slot in slots:
            met += (self._rows[:, 1:3] == slot).any(axis=1) & (slot != any_ids["type"])
        for number in self.tag_ids(given.get(TAGS)):
            met += [number in tags for tags in self._tags]
        for name in columns.keys() & wanted.keys():
            met += (self._rows[:, columns[name]] == wanted[name]) & (wanted[name] != any_ids[name])
        for least in sorted({*met.tolist()}, reverse=True):
            rows, tags = self._rows[met >= least], [self._tags[row] for row in np.flatnonzero(met >= least)]
            if len(np.unique(rows[:, 0])) >= MIN_LINES:
                break
        picked = [rows[_pick(rows, f"{seed}/color{i or ''}")] for i in range(COLOR_LINES)]
        one = max(picked, key=lambda row: _lift(rows, self._rows, row, columns.get("color", 0)))
        others = np.flatnonzero(rows[:, 0] != one[0])
        others = others if len(others) else np.arange(len(rows))
        second = others[_pick(rows[others], f"{seed}/shape")]
        missing = [name for name in table["drawn"] if name not in wanted]
        ids = {name: int((one if name == "color" else rows[second])[columns[name]]) for name in missing}
        drawn = {name: [*self.config.vocabulary[name], ANY][number] for name, number in ids.items()}
        if "tags" in table and given.get(TAGS) is None:
            known, build = self.config.vocabulary[TAGS], {*table["build"]}
            shape = columns.get("shape", 0)
            alike = np.flatnonzero(rows[:, shape] == rows[second, shape])
            parts = {known[number] for number in tags[alike[_pick(rows[alike], f"{seed}/tags")]]} - build
            whole = {known[number] for number in tags[second]} & build
            chosen = [_some(words, f"{seed}/{kind}") for kind, words in (("parts", parts), ("build", whole))]
            drawn[TAGS] = " ".join(sum(chosen, [])) or ANY
        return drawn

    @property
    def nothing_drawn(self) -> dict[str, str]:
        """Attribute -> "any", of those that `draw` can draw."""
        table = self.config.training_conditions or {"drawn": ()}
        return dict.fromkeys([*table["drawn"], *{TAGS} & table.keys()], ANY)

    def encode(self, types: Sequence[TypeBlend], /, **attributes: Sequence[AttributeValue]) -> Tensor:
        """The class embeddings (N, D) of conditions, on the conditioner's device.

        There is one entry per image: of types as in `type_blend`, of attributes as in `attribute_id`, of tags as in
        `tag_ids`. A blend is the weighted mean of its parts' embeddings.
        """
        for name, entries in {"types": types, **attributes}.items():
            if isinstance(entries, (str, Mapping)):  # whose letters or keys would be the entries
                raise TypeError(f"{name} must be a list with one entry per image, such as [{short_repr(entries)}].")
        blends = [self.type_blend(kind) for kind in types]
        tags = [self.tag_ids(words) for words in attributes.pop(TAGS, ())]
        ids = {name: [self.attribute_id(name, value) for value in values] for name, values in attributes.items()}
        parts = [(image, weight, slots) for image, blend in enumerate(blends) for weight, slots in blend]
        images = torch.tensor([image for image, _, _ in parts], device=self.device)
        labels = {"type": torch.tensor([slots for _, _, slots in parts], device=self.device)}
        labels |= {name: torch.tensor(values, device=self.device)[images] for name, values in ids.items()}
        if TAGS in self.config.vocabulary and tags:
            given = torch.zeros(len(tags), len(self.config.vocabulary[TAGS]), dtype=torch.bool)
            for row, present in zip(given, tags, strict=True):
                row[present] = True
            labels[TAGS] = given.to(self.device)[images]
        embedded = self(labels)
        # Where the result is, which offloading to the CPU moves to another device than the weights.
        weights = embedded.new_tensor([weight for _, weight, _ in parts])
        blended = embedded.new_zeros(len(blends), embedded.shape[1])
        return blended.index_add_(0, images.to(embedded.device), embedded * weights[:, None])

    def forward(self, labels: Mapping[str, Tensor], augmentation: Tensor | None = None) -> Tensor:
        """The network's `class_labels`, (B, D).

        Labels are int64, "type" (B, 2) and every other attribute (B,), but "tags" bool (B, V); at least one. What is
        left out is `any`. Augmentation parameters are (B, augmentation_dim), by default zeros.
        """
        batch = next(iter(labels.values()))
        total: Tensor | float = 0.0
        for attribute, any_id in self.any_ids.items():
            table, ids = self.tables[_table(attribute)], labels.get(attribute)
            if attribute == TAGS and ids is not None:
                total = total + tags_embedding(table.weight, ids)
                continue
            if ids is None:
                shape = (batch.shape[0], 2) if attribute == "type" else batch.shape[:1]
                ids = torch.full(shape, 0 if attribute == SOURCE else any_id, device=batch.device)
            embedded = table(ids)
            total = total + (embedded.sum(dim=1) if attribute == "type" else embedded)
        if self.augmentation_embedding is not None:
            # Zeros too: training in several processes needs a gradient for every weight.
            if augmentation is None:
                augmentation = total.new_zeros(total.shape[0], self.config.augmentation_dim)  # not len(), for exports
            total = total + self.augmentation_embedding(augmentation)
        return total
