"""Functions whose parameters follow from a list, as Typer and Gradio read them."""

import inspect
from inspect import Parameter
from typing import Any, get_type_hints

from pokemon_ddpm.signatures import spread


def some(*names: str, **given: Any) -> list[Parameter]:
    return [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=int, **given) for name in names]


def test_parameters_stand_after_the_one_named() -> None:
    def command(first: str, last: str = "z", **others: int | None) -> tuple:
        return first, last, others

    spread(command, "first", some("b", "c", default=None))
    assert str(inspect.signature(command)) == "(first: str, b: int = None, c: int = None, last: str = 'z')"
    assert get_type_hints(command) == {"first": str, "b": int, "c": int, "last": str}
    assert command("a", b=1, c=2) == ("a", "z", {"b": 1, "c": 2})


def test_a_method_stays_one() -> None:
    class Page:
        def handle(self, first: Any, *rest: Any) -> tuple:
            return first, rest

    spread(Page.handle, "first", some("b", "c"))
    assert list(inspect.signature(Page().handle).parameters) == ["first", "b", "c"]
    assert Page().handle(1, 2, 3) == (1, (2, 3))
