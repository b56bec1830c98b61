"""Which module may import which: the core nothing above it, leaves not each other, and no circle."""

import ast
import graphlib
import re
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ("vocabulary", "data", "class_folder", "preprocessing", "diffusion", "postprocessing", "files")
CORE += ("models", "training", "pipelines", "dataset_scripts", "")  # the last is the package itself
LEAVES = ("evaluation", "publishing", "app")
ABOVE_LEAVES = ("commands", "cli", "train_conditional", "benchmarks")


def imports() -> dict[str, set[str]]:
    """Module -> those of the project that it imports, also in functions and by importlib, without the package."""
    folders = ("pokemon_ddpm", "pipelines", "dataset_scripts", "benchmarks")
    paths, graph = {"train_conditional": ROOT / "train_conditional.py"}, {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        if "released" not in path.parts:  # what a released model has in place of code
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            paths[name.removeprefix("pokemon_ddpm").removesuffix("__init__").strip(".")] = path
    for name, path in paths.items():
        tree, named = ast.parse(path.read_text(encoding="utf-8")), set()
        package = f"pokemon_ddpm.{name.rpartition('.')[0]}".rstrip(".")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                folder = f"{package}." if node.level else ""
                named |= {f"{folder}{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                constants = (value for value in node.args if isinstance(value, ast.Constant))
                named |= {resolve_name(constant.value, package) for constant in constants}
            elif isinstance(node, ast.Constant) and re.fullmatch(r"pokemon_ddpm(\.\w+)+", str(node.value)):
                named.add(node.value)  # for importlib, from a table
        modules = {full.partition(".")[2] for full in named if full.split(".")[0] == "pokemon_ddpm"}
        graph[name] = {module if module in paths else module.rpartition(".")[0] for module in modules} - {name}
    return graph


def storey(module: str) -> int:
    known = {**dict.fromkeys(CORE, 0), **dict.fromkeys(LEAVES, 2), **dict.fromkeys(ABOVE_LEAVES, 3)}
    return known.get(module.split(".")[0], 1)


def test_arrows_go_one_way() -> None:
    arrows = imports()
    assert "training.batches" in arrows["train_conditional"] and "files" in arrows["training.checkpoint"]
    pairs = {(name, other) for name, others in arrows.items() for other in others}
    assert not [pair for pair in pairs if storey(pair[1]) > storey(pair[0])]
    leaves = [pair for pair in pairs if storey(pair[0]) == storey(pair[1]) == 2]
    assert not [pair for pair in leaves if pair[0].split(".")[0] != pair[1].split(".")[0]]
    graphlib.TopologicalSorter(arrows).prepare()  # raises CycleError


def test_the_training_script_imports_more_than_the_core_only_where_it_is_used() -> None:
    more = {name for name in imports()["train_conditional"] if storey(name)}
    assert more == {"generation", "evaluation.metrics", "publishing.hub"}
    lines = (ROOT / "train_conditional.py").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(tuple(f"from pokemon_ddpm.{name}" for name in more))]
