"""The source in a TorchScript file: parsed, compared with lists of what it may hold, and written again.

TorchScript has Python's syntax, so `ast` parses it, and PyTorch gets what `ast` writes of the checked tree: no two
readers can find different programs in it. Everything is on a list: kinds of statements and expressions, operators,
functions that may be called, classes (those of the same file), and names of attributes.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable

from ultralytics.nn.formats.operators import OPERATORS

TEXT = re.compile(r"[ !#-&(-\[\]-~]{0,300}")  # printable ASCII without quotes and backslashes
_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,200}")
_METHOD = re.compile(r"forward(\d{1,6}|__\d{1,6})?")  # tensors have methods too, `save` among them
_TYPES = {"Tensor", "int", "float", "bool", "str", "number", "NoneType", "Device"}
_GENERIC = {"Optional", "List", "Tuple", "Dict"}
_CONVERSIONS = {"int", "float", "bool"}
_LISTS = {"__parameters__", "__buffers__"}
_CONSTANT = re.compile(r"c\d{1,6}")
_RESERVED = {"torch", "ops", "CONSTANTS", "getattr", "annotate", "range", "uninitialized", "unchecked_cast", "inf",
             "nan", *_TYPES, *_GENERIC, *_CONVERSIONS}  # fmt: skip


class Refused(Exception):
    """A file asks for what it may not; the text is the end of a sentence."""


def checked_sources(sources: dict[str, str]) -> tuple[dict[str, str], set[str]]:
    """Return sources, parsed and written again, and the classes that they define.

    Args:
        sources: by the name of their module, such as '__torch__.torch.nn.modules.conv'.

    Raises:
        Refused: something is not on the lists.
    """
    return _checked(tuple(sources.items()))


@functools.lru_cache(maxsize=2)  # a file is opened twice: to learn its task, and to run it
def _checked(sources: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], set[str]]:
    """Do the work of `checked_sources`."""
    trees = {module: _parsed(module, text) for module, text in sources}
    classes: set[str] = set()
    functions: set[str] = set()
    definitions: list[ast.ClassDef | ast.FunctionDef] = []
    for module, tree in trees.items():
        for node in tree.body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                raise _strange(node)
            found = classes if isinstance(node, ast.ClassDef) else functions
            found.add(f"{module}.{_plain(node.name)}")
            definitions.append(node)
    check = _Check(classes, functions)
    for definition in definitions:
        check.definition(definition)
    return {module: ast.unparse(tree) + "\n" for module, tree in trees.items()}, classes


def _parsed(module: str, text: str) -> ast.Module:
    """Return the tree of a source."""
    if module.startswith("__torch__.torch.classes"):
        raise Refused("a class of PyTorch's own in C++ ('torch.classes')")
    if not text.isascii() or not re.fullmatch(r"[ -~\n]*", text):
        raise Refused(f"characters in the source of {module[:100]} that PyTorch does not write")
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise Refused(f"a source that cannot be read ({module[:100]}: {type(e).__name__})") from None


def _plain(name: str) -> str:
    """Return a name that is neither special in Python nor reserved."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise Refused(f"the name '{name[:100]}'")
    return name


def _strange(node: ast.AST) -> Refused:
    return Refused(f"'{' '.join(ast.unparse(node).split())[:100]}' ({type(node).__name__})")


def _dotted(node: ast.AST) -> str:
    """Return 'a.b.c' for such an expression, '' for any other."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *parts[::-1]]) if isinstance(node, ast.Name) else ""


class _Check:
    """Visitor of definitions; each method accepts what is on its list and raises `Refused` for the rest."""

    def __init__(self, classes: set[str], functions: set[str]):
        self.classes, self.functions = classes, functions
        self.locals: set[str] = set()
        self.aliases: set[str] = set()  # of functions of this file: `_0 = __torch__.a.greedy`

    def definition(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        """Check a class or a function of the file."""
        if isinstance(node, ast.FunctionDef):
            return self.function(node)
        bare = not (node.keywords or node.decorator_list or getattr(node, "type_params", None))
        if not bare or [_dotted(base) for base in node.bases] != ["Module"]:
            raise Refused(f"the class '{node.name[:100]}', which is not a plain module")
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and _METHOD.fullmatch(part.name):
                self.function(part)
            elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is None:
                _plain(part.target.id)
                self.type(part.annotation)
            elif isinstance(part, ast.Assign) and len(part.targets) == 1:
                self.member(part.targets[0], part.value)
            elif not isinstance(part, ast.Pass):
                raise _strange(part)

    def member(self, target: ast.expr, value: ast.expr) -> None:
        """Check `__parameters__ = [...]`, or `__annotations__["0"] = a type`."""
        if isinstance(target, ast.Name) and target.id in _LISTS and isinstance(value, ast.List):
            for text in value.elts:
                self.text(text)
        elif isinstance(target, ast.Subscript) and _dotted(target.value) == "__annotations__":
            self.text(target.slice)
            self.type(value)
        else:
            raise _strange(target)

    def function(self, node: ast.FunctionDef) -> None:
        """Check a function or a method."""
        a = node.args
        odd = (a.posonlyargs, a.kwonlyargs, a.vararg, a.kwarg, a.defaults, node.decorator_list)
        if any(odd) or getattr(node, "type_params", None) or node.returns is None:
            raise Refused(f"the function '{node.name[:100]}', whose signature is not one that PyTorch writes")
        self.type(node.returns)
        for arg in a.args:
            if arg.annotation is None:
                raise Refused(f"an argument of '{node.name[:100]}' without a type")
            self.type(arg.annotation)
        self.locals, self.aliases = {_plain(arg.arg) for arg in a.args}, set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                self.locals.add(_plain(inner.id))
        self.aliases = self._aliases(node)
        self.block(node.body)

    def _aliases(self, node: ast.FunctionDef) -> set[str]:
        """Return the names in a function that stand only for one of the file's functions."""
        aliases = {
            part.targets[0].id
            for part in node.body
            if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name)
            and _dotted(part.value) in self.functions
        }  # fmt: skip
        stored = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        stored += [arg.arg for arg in node.args.args]
        if twice := next((name for name in aliases if stored.count(name) > 1), ""):
            raise Refused(f"the name '{twice}' for a function and for something else")
        self.locals -= aliases
        return aliases

    # Statements -------------------------------------------------------------------------------------------------------

    def block(self, body: list[ast.stmt]) -> None:
        for node in body:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self.target(node.targets[0])
            if _dotted(node.targets[0]) not in self.aliases:
                self.value(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            self.target(node.target)
            self.type(node.annotation)
            self.value(node.value)
        elif isinstance(node, (ast.Return, ast.Expr)) and node.value is not None:
            self.value(node.value)
        elif isinstance(node, ast.If):
            self.value(node.test)
            self.block(node.body)
            self.block(node.orelse)
        elif isinstance(node, ast.For) and not node.orelse and isinstance(node.iter, ast.Call):
            self.target(node.target)
            if _dotted(node.iter.func) != "range":
                raise _strange(node.iter)
            self.arguments(node.iter)
            self.block(node.body)
        elif not isinstance(node, ast.Pass):
            raise _strange(node)

    def target(self, node: ast.expr) -> None:
        """Check the target of an assignment: a name, whose spelling was checked before, or a tuple of names."""
        parts = node.elts if isinstance(node, ast.Tuple) else [node]
        if strange := next((part for part in parts if not isinstance(part, ast.Name)), None):
            raise _strange(strange)

    # Expressions ------------------------------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> None:
        """Check an expression."""
        checks: dict[type, Callable] = {
            ast.Constant: self.constant, ast.Name: self.name, ast.Attribute: self.attribute, ast.Call: self.call,
            ast.Subscript: self.subscript, ast.List: self.values, ast.Tuple: self.values, ast.UnaryOp: self.minus,
        }  # fmt: skip
        check = checks.get(type(node))
        if check is None:
            raise _strange(node)
        check(node)

    def values(self, node: ast.List | ast.Tuple) -> None:
        for part in node.elts:
            self.value(part)

    def minus(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.op, ast.USub):
            raise _strange(node)
        self.value(node.operand)

    def subscript(self, node: ast.Subscript) -> None:
        self.value(node.value)
        self.value(node.slice)

    def constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.text(node)
        elif node.value is not None and not isinstance(node.value, (bool, int, float)):
            raise _strange(node)

    def text(self, node: ast.expr) -> str:
        """Return a constant text, such as the name of a submodule or of a device."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and TEXT.fullmatch(node.value)):
            raise _strange(node)
        return node.value

    def name(self, node: ast.Name) -> None:
        if node.id not in self.locals and node.id not in {"inf", "nan"}:
            raise Refused(f"'{node.id[:100]}'")

    def attribute(self, node: ast.Attribute) -> None:
        """Check a read of an attribute, or of a constant of the file."""
        dotted = _dotted(node)
        if dotted.startswith("CONSTANTS.") and _CONSTANT.fullmatch(dotted[10:]):
            return
        if dotted.startswith(("torch.", "ops.", "__torch__.")):
            raise Refused(f"'{dotted[:100]}'")
        _plain(node.attr)
        self.value(node.value)

    def call(self, node: ast.Call) -> None:
        """Check a call: of an operator, of a method `forward`, of a conversion or of a function of the file."""
        dotted = _dotted(node.func)
        if dotted == "getattr":
            self.look_up(node)
        elif dotted in {"annotate", "unchecked_cast", "uninitialized"}:
            self.typed(node)
        elif dotted in OPERATORS or dotted in _CONVERSIONS or dotted in self.aliases:
            self.arguments(node)
        elif isinstance(node.func, ast.Attribute) and _METHOD.fullmatch(node.func.attr):
            self.value(node.func.value)
            self.arguments(node)
        else:
            raise Refused(f"'{dotted or ast.unparse(node.func)[:100]}'")

    def look_up(self, node: ast.Call) -> None:
        """Check `getattr(module, "0")`, the way to submodules whose names are numbers."""
        if len(node.args) != 2 or node.keywords:
            raise _strange(node)
        self.value(node.args[0])
        if self.text(node.args[1]).startswith("__"):
            raise _strange(node)

    def typed(self, node: ast.Call) -> None:
        """Check `annotate(type, value)` and the like."""
        if not node.args or node.keywords:
            raise _strange(node)
        self.type(node.args[0])
        for part in node.args[1:]:
            self.value(part)

    def arguments(self, node: ast.Call) -> None:
        for part in node.args:
            self.value(part)
        for keyword in node.keywords:
            if keyword.arg is None or not _NAME.fullmatch(keyword.arg):
                raise _strange(node)
            self.value(keyword.value)

    def type(self, node: ast.expr) -> None:
        """Check the name of a type: PyTorch's simple ones, lists and tuples of them, and classes of the file."""
        if isinstance(node, ast.Subscript) and _dotted(node.value) in _GENERIC:
            for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
                self.type(part)
        elif isinstance(node, ast.Constant) and node.value is None:
            return
        elif (dotted := _dotted(node)) not in _TYPES and dotted not in self.classes:
            raise Refused(f"the type '{dotted or ast.unparse(node)[:100]}'")
