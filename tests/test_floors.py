"""The house: a file imports from its own floor or a lower one, and no two files import each other in a circle.

Imports inside functions count like those at module level.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ultralytics"
FLOORS = ("", "utils", "cfg", "nn", "data", "trackers", "engine", "models", "lab", "cli", "__main__")
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


def floor(module: str) -> int:
    """Return the storey of a module of the package; the package's own `__init__` is the ground that all stand on."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 else 0


def targets(node: ast.AST, file: Path) -> list[str]:
    """Return the modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "ultralytics"]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = module_name(file).split(".")
        package = package if file.name == "__init__.py" else package[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    if base.split(".")[0] != "ultralytics":
        return []
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]


def imports(file: Path, inside_functions: bool) -> list[str]:
    """Return what a file imports, at module level or anywhere; what only type checkers see does not count."""
    found: list[str] = []

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not inside_functions:
            return
        found.extend(targets(node, file))
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(file.read_text(encoding="utf-8")))
    return found


def test_every_folder_has_a_floor():
    unknown = {module.split(".")[1] for module in MODULES if "." in module} - set(FLOORS)
    assert not unknown, f"add {unknown} to FLOORS"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_reaches_upward(module):
    """Nor inside a function: what must be reached upward is named by a dotted string."""
    if module == "ultralytics":  # imports nothing of the package at module level
        assert not imports(MODULES[module], inside_functions=False)
        return
    assert not {t for t in imports(MODULES[module], inside_functions=True) if floor(t) > floor(module)}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules of which each reaches each other (Tarjan's strongly connected components)."""
    found: list[list[str]] = []
    stack: list[str] = []
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}  # the earliest module on the stack that each one reaches

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for target in graph[module]:
            if target not in order:
                visit(target)
            if target in stack:
                lowest[module] = min(lowest[module], lowest[target])
        if lowest[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"g", "e"}, "g": {"f"}}
    assert circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_no_circles():
    graph = {
        module: {t for t in imports(file, True) if t in MODULES and t != module} for module, file in MODULES.items()
    }
    message = [
        "\n".join(f"{module} imports {', '.join(sorted(graph[module] & {*group}))}" for module in group)
        for group in circles(graph)
    ]
    assert not message, "Files import each other in a circle:\n" + "\n\n".join(message)


def test_the_reader_of_imports_sees_them(tmp_path):
    """The tests above would pass on an empty list, so the reader is tested too."""
    seen = imports(PACKAGE / "cfg" / "__init__.py", inside_functions=False)
    assert {"ultralytics.utils", "ultralytics.cfg.schema"} <= set(seen)
    model = PACKAGE / "engine" / "model.py"
    assert "ultralytics.engine.tuner" not in imports(model, inside_functions=False)
    assert "ultralytics.engine.tuner" in imports(model, inside_functions=True)
