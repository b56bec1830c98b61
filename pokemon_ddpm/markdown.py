"""Markdown of reports."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table of which the first columns hold words and the others numbers.

    Args:
        head: Names of the columns.
        rows: Cells, as many as columns.
        words: How many columns hold words.
    """
    rule = ["---" if column < words else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])
