"""The pages in Markdown: links lead somewhere, quoted lines are the code's, and figures those of the reports."""

import re
import shlex
import subprocess
import sys
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
COMPARISON = re.compile(r"^python benchmarks/compare_models\.py (?!.*--data-dir)(.+)$", flags=re.MULTILINE)
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


@pytest.fixture(scope="module")
def tables() -> list[list[str]]:
    """The lines of the tables that the commands of docs/results.md print."""
    printed = []
    for arguments in COMPARISON.findall((ROOT / "docs" / "results.md").read_text(encoding="utf-8")):
        command = [sys.executable, "benchmarks/compare_models.py", *shlex.split(arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
    return printed


def test_tables_of_models_are_those_of_their_reports(tables: list[list[str]]) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert tables
    for lines in tables:
        missing = [line for line in lines if line not in page]
        assert not missing, missing


def test_figures_of_the_readme_are_those_of_the_reports(tables: list[list[str]]) -> None:
    _, _, section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Results\n")
    shown = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    measured = {line.split("|")[1]: line for line in tables[0]}
    rows = [line for line in shown if line.split("|")[1] in measured]
    assert len(rows) > 8
    assert [line for line in rows if line != measured[line.split("|")[1]]] == []
