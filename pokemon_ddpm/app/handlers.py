"""What happens when something on the page is clicked, or its API is called."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from inspect import Parameter
from typing import Any

import gradio as gr

from pokemon_ddpm.app.downloads import Files
from pokemon_ddpm.app.drawing import Look
from pokemon_ddpm.app.limits import Desks, Refused
from pokemon_ddpm.app.memory import Memory, Sprites
from pokemon_ddpm.app.models import Models
from pokemon_ddpm.app.orders import (
    RANDOM,
    USUAL,
    Order,
    chosen,
    new_sprites,
    other_type,
    random_seed,
    variations,
)
from pokemon_ddpm.app.strip import strip
from pokemon_ddpm.app.workshop import Waiting, Workshop
from pokemon_ddpm.generation import Interrupted
from pokemon_ddpm.signatures import spread
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, NONE

UNEXPECTED = "Something went wrong here, which was noted. Try again."
CANCELLED = "The drawing was cancelled."
PROGRESS = gr.Progress()
logger = logging.getLogger(__name__)


class Handlers:
    """The page's functions. Their inputs are those of `interface`, unchecked.

    Args:
        models: What can be drawn with.
        workshop: Where it is drawn.
        files: Where pictures are put for the browser to fetch.
    """

    def __init__(self, models: Models, workshop: Workshop, files: Files):
        self._models, self._workshop, self._files = models, workshop, files
        self._desks, self._memory = Desks(), Memory()

    async def generate(
        self,
        pokemon_type: Any,
        second_type: Any,
        num_images: Any,
        new_seed: Any,
        seed: Any,
        model: Any,
        quality: Any,
        guidance_scale: Any,
        *attributes_request_progress: Any,
    ) -> AsyncGenerator[tuple, None]:
        """Draws new sprites; returns them with captions, and the seed of the first."""
        *values, request, progress = attributes_request_progress
        words = dict(zip(ATTRIBUTES, values, strict=True))

        def order() -> Order:
            first = random_seed() if new_seed else seed
            known = self._models.get(model)
            return new_sprites(known, pokemon_type, second_type, num_images, first, quality, guidance_scale, words)

        async with contextlib.aclosing(self._draw(order, request, progress)) as shown:
            async for each in shown:
                yield each

    async def more_like_this(
        self,
        sprite: Any,
        num_images: Any,
        strength: Any,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> AsyncGenerator[tuple, None]:
        """Draws variations of a shown sprite; returns it and them with captions, and the seed of the first of them."""

        def order() -> Order:
            original = chosen(self._sprites(request), sprite)
            return variations(self._models.get(original.model), original, num_images, strength, random_seed())

        async with contextlib.aclosing(self._draw(order, request, progress)) as shown:
            async for each in shown:
                yield each

    async def other_type(
        self,
        sprite: Any,
        pokemon_type: Any,
        second_type: Any,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> AsyncGenerator[tuple, None]:
        """Draws a shown sprite's seed as another type; returns both with captions, and the seed."""

        def order() -> Order:
            original = chosen(self._sprites(request), sprite)
            return other_type(self._models.get(original.model), original, pokemon_type, second_type)

        async with contextlib.aclosing(self._draw(order, request, progress)) as shown:
            async for each in shown:
                yield each

    async def _draw(
        self, make: Callable[[], Order], request: gr.Request, progress: gr.Progress
    ) -> AsyncGenerator[tuple, None]:
        """Yields what the gallery and the seed become while an order is carried out; its sprites are remembered."""
        user, address = _who(request)
        nothing_new = (gr.skip(), gr.skip())
        stays: list[tuple[str, str]] | None = None
        try:
            order = make()
            async with contextlib.aclosing(self._workshop.carry_out(order, user, address)) as happening:
                async for news in happening:
                    match news:
                        case None:
                            yield nothing_new
                        case Waiting(ahead):
                            progress(0, desc=f"{ahead} before you")
                            yield nothing_new
                        case Look(done, total, pictures):
                            progress((done, total), desc="Drawing", unit="steps")
                            if pictures is not None:
                                if stays is None:
                                    stays = await asyncio.to_thread(self._files.show, order.shown)
                                expected = await asyncio.to_thread(self._files.show_expected, pictures)
                                yield [*stays, *expected], gr.skip()
                        case drawn:
                            sprites = (*order.shown, *drawn)
                            shown = await asyncio.to_thread(self._files.show, sprites)
                            self._memory.remember(user, sprites)
                            yield shown, order.requests[0].seed
        except Exception as error:
            if stays is not None:  # what was begun goes, and what can be drawn on from is there again
                yield await asyncio.to_thread(self._files.show, self._memory.of(user)), gr.skip()
            raise _told(error) from None

    async def first(self, background: Any, scale: Any, request: gr.Request) -> tuple:
        """Chooses the first sprite, after a drawing: what is said of them, its number, and else as `choose`."""
        sprites = self._sprites(request)
        said = f"{_count(sprites)} by {sprites[-1].model}; they are kept here for an hour." if sprites else gr.skip()
        return said, 1, *await self.choose(1, background, scale, request)

    async def choose(self, sprite: Any, background: Any, scale: Any, request: gr.Request) -> tuple:
        """Shows the steps of a sprite and offers its files: strip, and the buttons of `keep`."""
        sprites = self._sprites(request)
        if not sprites:
            return (gr.skip(),) * 5
        try:
            one = chosen(sprites, sprite)
        except Refused as error:
            raise _told(error) from None
        files = await self.keep(sprite, background, scale, request)
        return strip(one), *(gr.DownloadButton(value=file, interactive=True) for file in files)

    async def select(self, background: Any, scale: Any, event: gr.SelectData, request: gr.Request) -> tuple:
        """Chooses the sprite that was clicked; else as `choose`, its number first."""
        number = event.index + 1 if isinstance(event.index, int) else 1
        return number, *await self.choose(number, background, scale, request)

    async def keep(self, sprite: Any, background: Any, scale: Any, request: gr.Request) -> tuple[str, ...]:
        """Writes files of the sprites that are shown: one as a PNG, all as a zip, its steps as a GIF, the sheet."""
        sprites = self._sprites(request)
        try:
            one = chosen(sprites, sprite)
            async with self._desks.desk(_who(request)[0]):
                return await asyncio.to_thread(self._files.keep, sprites, one, background, scale)
        except Exception as error:
            raise _told(error) from None

    def choose_model(self, name: Any, *values: Any) -> list:
        """Lets one choose what a model knows, and greys out what it does not.

        Args:
            name: The model's.
            *values: What is chosen so far, in the order of what is returned.

        Returns:
            The types, twice two of them, quality, guidance, and the other attributes.
        """
        try:
            model = self._models.get(name)
        except Refused as error:
            raise _told(error) from None
        types, guided = model.vocabulary["type"], not model.is_distilled
        allowed = [(RANDOM, ANY, *types), (ANY, NONE, RANDOM, *types)]
        typed = [_dropdown(words, value) for words, value in zip(2 * allowed, values[:4], strict=True)]
        others = [
            _dropdown(
                (ANY, *model.vocabulary.get(attribute, ())), USUAL.get(attribute, ANY) if value == ANY else value
            )
            for attribute, value in zip(ATTRIBUTES, values[4:], strict=True)
        ]
        return [*typed, gr.Radio(interactive=guided), gr.Slider(interactive=guided), *others]

    async def load_model(self, source: Any) -> gr.Dropdown:
        """Loads one more model and chooses it; one that cannot be loaded changes nothing."""
        try:
            model = await self._workshop.beside(lambda: self._models.load(source))
        except Exception as error:
            raise _told(error) from None
        return gr.Dropdown(choices=self._models.names, value=model.name)

    async def cancel(self, request: gr.Request) -> None:
        """Ends the visitor's drawing, if there is one, after the step it is in; in the event loop, as the line is."""
        self._workshop.stop(_who(request)[0])

    def _sprites(self, request: gr.Request) -> Sprites:
        """The visitor's last ones."""
        return self._memory.of(_who(request)[0])


spread(
    Handlers.generate,
    "guidance_scale",
    [
        *(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=Any) for name in ATTRIBUTES),
        Parameter("request", Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request),
        Parameter("progress", Parameter.POSITIONAL_OR_KEYWORD, default=PROGRESS, annotation=gr.Progress),
    ],
)


def _who(request: gr.Request) -> tuple[str, str]:
    """Whoever asks, and from where. A call without a session is a visitor of its own."""
    client = getattr(request, "client", None)
    return request.session_hash or uuid.uuid4().hex, getattr(client, "host", None) or "nowhere"


def _count(sprites: Sprites) -> str:
    return f"{len(sprites)} sprite{'s' * (len(sprites) != 1)}"


def _dropdown(words: Sequence[str], value: Any) -> gr.Dropdown:
    return gr.Dropdown(choices=list(words), value=value if value in words else ANY, interactive=len(words) > 1)


def _told(error: Exception) -> gr.Error:
    """What the page says of an error: its sentence, or that it was none that one is told."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, Interrupted):
        return gr.Error(CANCELLED, title="Cancelled", print_exception=False)
    if isinstance(error, Refused):
        return gr.Error(str(error), title="Not possible", print_exception=False)
    logger.error("The app failed.", exc_info=error)
    return gr.Error(UNEXPECTED, print_exception=False)
