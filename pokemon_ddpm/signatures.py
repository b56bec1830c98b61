"""Functions whose parameters follow from a list, such as one for each attribute of the sprites."""

import inspect
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any

VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def spread(function: Callable[..., Any], after: str, parameters: Sequence[Parameter]) -> None:
    """Shows parameters in place of a function's variadic one to those who read its signature.

    Typer makes a command's options of what it reads there, and Gradio the names of its API.

    Args:
        function: Takes them all by its `*...` or `**...`.
        after: The parameter that they follow.
        parameters: They, with their annotations.
    """
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in VARIADIC:
            shown.append(parameter)
        if parameter.name == after:
            shown += parameters
    function.__signature__ = inspect.Signature(shown)
    function.__annotations__ = {each.name: each.annotation for each in shown if each.annotation is not Parameter.empty}
