"""The pages in Markdown: their links lead somewhere, and the lines of code that they quote are those of the code."""

import re
from pathlib import Path

import pytest

from tests.training_runs import ROOT

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "pokemon_ddpm/released/*/README.md")
    for page in ROOT.glob(pattern)
    if not page.is_relative_to(ROOT / "outputs")
)
FENCED = re.compile(r"```.*?```", flags=re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
# | the paper | `code` | [file](path) |
QUOTE = re.compile(r"\| `([^`|]+)` \| \[[^]]+\]\(([^)]+\.py)\) \|")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings: lower case, punctuation dropped, spaces as hyphens."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is not there"
        assert not anchor or anchor in anchors(target), f"{path} has no heading #{anchor}"


def test_quoted_lines_are_those_of_the_code() -> None:
    page = ROOT / "docs" / "how-it-works.md"
    quotes = QUOTE.findall(page.read_text(encoding="utf-8"))
    assert len(quotes) > 12
    for code, path in quotes:
        assert code in (page.parent / path).read_text(encoding="utf-8"), f"{path} has no {code}"
