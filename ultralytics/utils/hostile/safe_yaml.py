"""Untrusted YAML: plain values only, bounded in size, depth and aliases; a repeated key is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import yaml

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.hostile import limits

T = TypeVar("T")
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_ODD_KEYS = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:int"}
_NUMBER = re.compile("0|-?[1-9][0-9]{0,9}")


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with limits; dates stay text."""

    depth = count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node and its children."""
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.count > limits.YAML_NODES:
            raise ConfigError(f"it has more than {limits.YAML_NODES} values")
        if self.depth > limits.YAML_DEPTH:
            mark = self.peek_event().start_mark
            raise ConfigError(f"more than {limits.YAML_DEPTH} lists are nested in line {mark.line + 1}")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


# A class called 2024-05-01 is a name, and a weight file could not store a date.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _whole(loader: Loader, node: yaml.ScalarNode) -> int:
    """Parse a whole number; a long `1:1:1:...`, which YAML reads in base 60, would take hours."""
    if len(node.value) > limits.YAML_DIGITS:
        raise ConfigError(
            f"the number in line {node.start_mark.line + 1} has more than {limits.YAML_DIGITS} characters"
        )
    return loader.construct_yaml_int(node)


Loader.add_constructor("tag:yaml.org,2002:int", _whole)


def compose(text: str) -> yaml.Node | None:
    """Parse a YAML text into nodes, which know their lines; None for an empty text.

    Raises:
        ConfigError: it is not YAML, or exceeds a limit; the message has no file name.
    """
    return _run(text, Loader.get_single_node)


def load(text: str) -> object:
    """Parse a YAML text into plain values; raises as `compose` does.

    The values under a top-level `names:` are class names, which stay as they are written: `no`, `01` and `12:30` do not
    become False, 1 and 750.
    """

    def construct(loader: Loader) -> object:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        _keep_names(node)
        return loader.construct_document(node)

    return _run(text, construct)


def _keep_names(root: yaml.Node) -> None:
    """Make the plain values under `names` texts, and keys there that are truth values or numbers like 010 or 1_0."""
    for key, node in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value != "names" or isinstance(node, yaml.ScalarNode):
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(None, part) for part in node.value]
        for index, name in pairs:
            if isinstance(name, yaml.ScalarNode) and name.value:
                name.tag = _TEXT
            if isinstance(index, yaml.ScalarNode) and index.tag in _ODD_KEYS and not _NUMBER.fullmatch(index.value):
                index.tag = _TEXT


def _run(text: str, action: Callable[[Loader], T]) -> T:
    """Run an action on a loader of a text, and word what is wrong with the text as a ConfigError."""
    if len(text) > limits.YAML_BYTES:
        raise ConfigError(f"it has more than {limits.YAML_BYTES} characters")
    try:
        loader = Loader(text)
        try:
            return action(loader)
        finally:
            loader.dispose()
    except ConfigError:
        raise
    except yaml.YAMLError as e:
        raise ConfigError(" ".join(str(e).replace(' in "<unicode string>",', " in").split())) from None
    except Exception as e:  # PyYAML's constructors raise anything on values such as `!!int x`
        raise ConfigError(f"a value cannot be read ({type(e).__name__}: {' '.join(str(e).split())})") from None


def _check(root: yaml.Node) -> None:
    """Raise ConfigError for a repeated key, for what contains itself, and for too many values."""
    sizes: dict[int, int] = {}  # of finished nodes; 0: in progress

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1 + len(node.value) // 64  # a long text may be repeated by aliases too
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise ConfigError(f"what begins in line {node.start_mark.line + 1} contains itself")
            return sizes[id(node)]
        sizes[id(node)] = 0
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        children = (part for pair in node.value for part in pair) if isinstance(node, yaml.MappingNode) else node.value
        total = 1 + sum(map(size, children))
        if total > limits.YAML_NODES:
            raise ConfigError(f"it has more than {limits.YAML_NODES} values once its aliases are expanded")
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(node: yaml.MappingNode) -> None:
    seen: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        line, name = key.start_mark.line + 1, (key.tag, key.value)
        if name in seen:
            raise ConfigError(f"the key '{key.value[:40]}' appears twice, in line {seen[name]} and in line {line}")
        seen[name] = line
