"""Print figures of the package's structure: `python tools/structure.py [--no-types]`, in the repository's root.

Import circles and upward imports (those inside functions count), the largest file, the attributes of trainer and
predictor, how often `Any` is annotated, and what mypy finds. The exit code is 1 where a figure is above its limit.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ultralytics"
FLOORS = ("", "utils", "cfg", "nn", "data", "trackers", "engine", "models", "lab", "cli", "__main__")
MAX_ATTRIBUTES, MAX_ANY, MAX_LINES = 25, 40, 600
CLASSES = {
    "trainer": "ultralytics.engine.trainer.BaseTrainer",
    "predictor": "ultralytics.engine.predictor.BasePredictor",
}


def module_name(file: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(file.read_text(encoding="utf-8")) for module, file in MODULES.items()}


def floor(module: str) -> int:
    """Return the floor of a module; the package's own `__init__` is the ground that all stand on."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) if len(parts) > 1 else 0


def _targets(node: ast.AST, module: str) -> list[str]:
    """Return the modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "ultralytics"]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = module.split(".")
        package = package if MODULES[module].name == "__init__.py" else package[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    if base.split(".")[0] != "ultralytics":
        return []
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]


def imports(module: str, inside_functions: bool = True) -> list[str]:
    """Return what a module imports, anywhere or at module level; what only type checkers see does not count."""

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not inside_functions:
            return
        yield from _targets(node, module)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return [*walk(TREES[module])]


def upward() -> list[str]:
    """Return the imports of a higher floor."""
    pairs = ((m, target) for m in MODULES if m != "ultralytics" for target in imports(m))
    return [f"{m} -> {target}" for m, target in pairs if floor(target) > floor(m)]


def import_graph() -> dict[str, set[str]]:
    """Return which modules of the package each module imports."""
    return {m: {t for t in imports(m) if t in MODULES and t != m} for m in MODULES}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules of which each reaches each other (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}  # the earliest module on the stack that each one reaches
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        stack.append(module)
        for target in graph[module]:
            if target not in order:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in order:
            visit(module)
    return found


def _bases(dotted: str) -> list[tuple[str, ast.ClassDef]]:
    """Return a class and those that it inherits from within the package, as (module, definition)."""
    module, name = dotted.rsplit(".", 1)
    cls = next(n for n in TREES[module].body if isinstance(n, ast.ClassDef) and n.name == name)
    where = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in TREES[module].body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    known = [where.get(ast.unparse(base), f"{module}.{ast.unparse(base)}") for base in cls.bases]
    return [(module, cls), *(pair for base in known if base.startswith("ultralytics.") for pair in _bases(base))]


def attributes(dotted: str) -> tuple[set[str], set[str], set[str]]:
    """Return the attributes that a class sets on `self`, those not born in `__init__`, and its properties.

    Those that a class declares as `held_by` one of its parts are properties, too.
    """
    everywhere: set[str] = set()
    born: set[str] = set()
    properties: set[str] = set()
    for _, cls in _bases(dotted):
        declared = (n for n in cls.body if isinstance(n, ast.AnnAssign) and isinstance(n.value, ast.Call))
        properties |= {ast.unparse(n.target) for n in declared if ast.unparse(n.value.func) == "held_by"}
        for method in (n for n in cls.body if isinstance(n, ast.FunctionDef)):
            if any(ast.unparse(d) == "property" for d in method.decorator_list):
                properties.add(method.name)
            own = {
                n.attr
                for n in ast.walk(method)
                if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and ast.unparse(n.value) == "self"
            }
            everywhere |= own
            born |= own if method.name == "__init__" else set()
    return everywhere - properties, everywhere - born - properties, properties


def count_any() -> int:
    """Return how often `Any` stands in annotations."""
    return sum(isinstance(n, ast.Name) and n.id == "Any" for tree in TREES.values() for n in ast.walk(tree))


def type_errors() -> list[str]:
    """Return what mypy finds in the folders that pyproject.toml names."""
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    if "Success" not in done.stdout and "Found" not in done.stdout:
        raise SystemExit(f"mypy did not run: {done.stderr or done.stdout}")
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def main(types: bool) -> int:
    """Print all figures; return 1 if one is above its limit, else 0."""
    lines = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in MODULES.items()}
    largest = max(lines, key=lambda m: lines[m])
    figures: list[tuple[str, int, int | None, list[str]]] = [
        ("files", len(lines), None, []),
        ("lines", sum(lines.values()), None, []),
        ("lines of the largest file", lines[largest], MAX_LINES, [largest]),
        ("import circles", len(found := circles(import_graph())), 0, [" <-> ".join(group) for group in found]),
        ("upward imports", len(found_up := upward()), 0, found_up),
    ]
    for name, dotted in CLASSES.items():
        all_of, late, properties = attributes(dotted)
        figures += [
            (f"attributes of the {name}", len(all_of), MAX_ATTRIBUTES, sorted(all_of)),
            ("  not born in __init__", len(late), 0, sorted(late)),
            ("  properties", len(properties), None, sorted(properties)),
        ]
    figures.append(("annotations with Any", count_any(), MAX_ANY, []))
    if types:
        figures.append(("errors of mypy", len(errors := type_errors()), 0, errors))
    for name, value, limit, details in figures:
        above = limit is not None and value > limit
        print(f"{name:<28}{value:>7}" + (f"   (limit {limit})" if limit is not None else ""))
        for line in details if above else ():
            print(f"    {line}")
    return int(any(limit is not None and value > limit for _, value, limit, _ in figures))


if __name__ == "__main__":
    sys.exit(main(types="--no-types" not in sys.argv[1:]))
