"""The models that the app draws with: loaded by name, and by that name alone."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import SchedulerMixin

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.app.limits import Refused
from pokemon_ddpm.devices import best_device
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.pipelines.compatibility import is_distilled
from pokemon_ddpm.released_models import name_of

MAX_SOURCE = 300


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model.

    Attributes:
        name: What the page calls it.
        reference: What files that it draws call it.
        pipeline: It draws for one caller at a time.
        scheduler: The pipeline's own.
    """

    name: str
    reference: str
    pipeline: PokemonDDPMPipeline
    scheduler: SchedulerMixin

    @property
    def vocabulary(self) -> dict[str, list[str]]:
        """Attribute -> the words it knows."""
        return self.pipeline.conditioner.vocabulary

    @property
    def is_distilled(self) -> bool:
        """Whether its guidance is folded in, so that it draws in steps of its own and without guidance."""
        return is_distilled(self.scheduler)


class Models:
    """What may be drawn with: the models given at the start, and, on one's own machine, one more at a time.

    Args:
        sources: Folders, names of models that come with the package, or Hub names; the first is drawn with if
            nothing is said.
        public: Whether everybody can reach the app. Then there are only these, and no path of the machine is told.

    Raises:
        ValueError, OSError: If one cannot be loaded.
    """

    def __init__(self, sources: Sequence[str], public: bool):
        if not sources:
            raise ValueError("The app needs at least one model.")
        self._public = public
        self._given: dict[str, Model] = {}
        self._further: Model | None = None
        self._named: dict[str, str] = {}
        for source in sources:
            model = self._load(source)
            self._given[model.name] = model

    @property
    def names(self) -> list[str]:
        """Of all that are loaded, the first one first."""
        return [*self._given, *([self._further.name] if self._further else [])]

    def get(self, name: Any) -> Model:
        """A loaded model.

        Raises:
            Refused: If there is none of that name.
        """
        if self._further is not None and name == self._further.name:
            return self._further
        if isinstance(name, str) and name in self._given:
            return self._given[name]
        raise Refused(f"The model must be one of: {', '.join(self.names)}.")

    def load(self, source: Any) -> Model:
        """Loads one more, from its safetensors and without its code; it takes the place of the last such one.

        Args:
            source: A folder or a Hub name.

        Raises:
            Refused: If it cannot be loaded. Those that were there still are.
        """
        if self._public:
            raise Refused(f"Only these models can be drawn with here: {', '.join(self.names)}.")
        if not isinstance(source, str) or not 0 < len(source.strip()) <= MAX_SOURCE:
            raise Refused("Give the folder of a model, or its name on the Hub, such as user/name.")
        try:
            self._further = self._load(source.strip())
        except (ValueError, OSError) as error:
            raise Refused(str(error)) from error
        except Exception as error:  # files that are no model's fail in as many ways as there are
            reason = " ".join(str(error).split())[:MAX_SOURCE]
            raise Refused(f"{source.strip()} holds no model that can be loaded: {reason}") from error
        return self._further

    def _load(self, source: str) -> Model:
        pipeline = Drawing(source).load(best_device())
        last = Path(name_of(source)).name or source
        # A name is that of the same source for ever: sprites of the last one may still be there to go on from.
        name = next(
            name
            for name in _numbered(last if Path(source).exists() else source)
            if name not in self._given and self._named.setdefault(name, name_of(source)) == name_of(source)
        )
        return Model(name, name if self._public else name_of(source), pipeline, pipeline.scheduler)


def _numbered(name: str) -> Iterator[str]:
    """The name, then "name (2)", "name (3)" and so on."""
    yield name
    yield from (f"{name} ({number})" for number in itertools.count(2))
