"""The code of a model's layers: cells that other code has trained are not those of the same model."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from torch import nn

OTHERS = {"torch", "torchvision", "builtins", "typing", "abc"}  # packages whose versions are written down as such


def code_of(network: nn.Module) -> dict[str, str]:
    """Return a hash of the source of each class that the layers of a network are made of, by the class's name.

    Bases count, comments and docstrings do not; torch's own classes and those without a source are left out.
    """
    layers = [m for m in network.modules() if m is not network]
    classes = {c for layer in layers for c in type(layer).__mro__ if c.__module__.partition(".")[0] not in OTHERS}
    found = {f"{c.__module__}.{c.__qualname__}": _hash(c) for c in classes}
    return {name: found[name] for name in sorted(found) if found[name]}


def _hash(cls: type) -> str:
    """Return a hash of what a class's source says; "" where it has none, as a class typed into an interpreter."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def changed_code(before: Any, now: Mapping[str, str]) -> list[str]:
    """Return the names of the classes whose code is another than it was; none where either is not known."""
    if not isinstance(before, dict) or not before or not now:
        return []
    return [name.rpartition(".")[2] for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
