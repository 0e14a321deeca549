"""Which classes a model YAML may name, and how its arguments become constructor arguments.

`@register` beside a class is all that a new module needs. The rule is read from the constructor's signature:

    (c1, c2, ...)       input channels, width-scaled output channels, then the YAML arguments
    (c1, c2, n, ...)    the same, and the depth-scaled repeats go inside the module
    (c1, c2, n, c3k, ...) the same; the scales m, l and x pass c3k=True, as YOLO11 defines them
    (..., ch)           the list of input channels of all layers that the module reads
    (c1, ...)           input channels, then the YAML arguments; channels stay, or are the instance's `out_channels`
    (dimension, ...)    the YAML arguments as they are; the channels of all inputs add up
    anything else       the YAML arguments as they are; channels stay, or are the instance's `out_channels`

Repeats of the other kinds become a sequence, in which each takes the channels that the one before gives.
`c1` and `c2` may have another of the names in `INPUTS` and `OUTPUTS`, such as `in_channels` and `out_channels`. An
output with a default may be left out in the YAML: channels stay. Classes of `torch.nn` take the YAML arguments as they
are.
A class with another rule brings it along: `@register(bind=rule)` with `rule(context, args) -> Bound`. Its subclasses
have the same rule, unless their constructors begin with other parameters.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeGuard, TypeVar, overload

from ultralytics.utils.errors import ModelError, did_you_mean
from ultralytics.utils.system.logger import say_once


@dataclass(frozen=True)
class Context:
    """A layer's place in the model, as rules see it: input channels, the model's scale, the YAML's own keys."""

    channels: list[int]  # of each layer that this one reads
    repeats: int  # depth-scaled
    width: float
    max_channels: float
    scale: str
    yaml: dict

    @property
    def c1(self) -> int:
        """Channels of the first input."""
        return self.channels[0]

    def scaled(self, c2: int) -> int:
        """Return `c2` channels scaled by the model's width, as a multiple of 8.

        A number that equals the class count stays as it is, whatever its meaning, as in 8.3.0: its weights must fit.
        """
        return c2 if c2 == self.yaml.get("nc") else self.widened(c2)

    def widened(self, c: int) -> int:
        """Return `c` channels scaled by the model's width, as a multiple of 8."""
        return math.ceil(min(c, self.max_channels) * self.width / 8) * 8


@dataclass(frozen=True)
class Bound:
    """Constructor arguments of one layer, its output channels, and how often it is repeated one after the other."""

    args: list
    channels: int | list[int]
    repeats: int = 1


Rule = Callable[[Context, list], Bound]


@dataclass(frozen=True)
class Entry:
    """A registered class with the rule for its arguments."""

    cls: type
    bind: Rule
    weights: int | None = None  # index of a weight file among the YAML arguments
    replaced: type | None = None  # this package's own class of that name, if this one is a user's


# Names that code of others gives to the channels of the input and of the output, beside `c1` and `c2`.
INPUTS = {
    *("c1", "c", "inc", "inp", "in_c", "in_ch", "in_channel", "in_channels", "in_dim", "in_planes", "inplanes"),
    *("dim", "dim_in", "channel", "channels"),
}
OUTPUTS = {
    *("c2", "outc", "ouc", "oup", "out_c", "out_ch", "out_channel", "out_channels", "out_dim", "out_planes", "planes"),
    "dim_out",
}

C = TypeVar("C", bound=type)
REGISTRY: dict[str, Entry] = {}
OWN: dict[str, dict[str, Entry]] = {}  # of the files that model YAMLs name, by Python module (see own_modules.py)
BUILT_IN: dict[str, type] = {}  # this package's own classes
_RULES: dict[type, Rule] = {}  # that classes brought along


class StartsFromFile(Protocol):
    """A module whose YAML line may name a weight file (see `register`)."""

    def load_weights(self, file: str) -> object: ...


@overload
def register(cls: C, *, bind: Rule | None = None, name: str | None = None, weights: int | None = None) -> C: ...
@overload
def register(
    cls: None = None, *, bind: Rule | None = None, name: str | None = None, weights: int | None = None
) -> Callable[[C], C]: ...
def register(
    cls: C | None = None, *, bind: Rule | None = None, name: str | None = None, weights: int | None = None
) -> C | Callable[[C], C]:
    """Make a module usable in model YAMLs under its class name (or `name`).

    A user's class may bear the name of a built-in one, whose place it takes; of two users' classes with one name the
    second raises ValueError.

    Args:
        cls: the module's class.
        bind: turns the YAML arguments into those of the constructor, instead of the rule by its signature.
        name: to use in YAMLs.
        weights: index of a weight file among the YAML arguments. The constructor does not get it: a new model, once it
            is built, calls the module's `load_weights(file)`; one whose weights come from a checkpoint does not.
    """

    def add(cls: C) -> C:
        key, registry = name or cls.__name__, OWN.get(cls.__module__, REGISTRY)
        known, built_in = registry.get(key), BUILT_IN.get(key)
        free = known is None or (known.cls is built_in and not is_built_in(cls))
        if known and not free and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"A module named '{key}' is registered already ({known.cls.__module__}). Choose another class name, "
                "or pass another one with @register(name=...)."
            )
        if weights is not None and not hasattr(cls, "load_weights"):
            raise ValueError(f"'{key}' takes a weight file, but has no method `load_weights(file)`. Write one.")
        if bind:
            _RULES[cls] = bind
        if is_built_in(cls):
            BUILT_IN[key], built_in = cls, None
        registry[key] = Entry(cls, rule_of(cls), weights, built_in)
        return cls

    return add(cls) if cls is not None else add


def is_built_in(cls: type) -> bool:
    """Return whether a class is one of this package or of PyTorch, not of a user."""
    return cls.__module__.partition(".")[0] in {"ultralytics", "torch"}


def lookup(name: str, own: Mapping[str, Entry] | None = None, namespace: Mapping[str, object] | None = None) -> Entry:
    """Return the entry of a module named in a YAML; a class of the user's own comes before one of this package.

    Args:
        name: as in the YAML.
        own: what the YAML's own module files registered; it comes first.
        namespace: where users put classes without registering them, `nn.tasks`; what they put there comes second.

    Raises:
        ModelError: nothing has that name; the message lists similar ones.
    """
    entry = (own or {}).get(name) or _put_there(name, namespace or {}) or REGISTRY.get(name)
    if entry is None:
        return _unregistered(name, own or {}, namespace or {})
    if entry.replaced:
        cls = entry.cls
        say_once(
            f"{name} is the class {cls.__qualname__} of {cls.__module__}, which takes the place of the built-in one."
        )
    return entry


def _put_there(name: str, namespace: Mapping[str, object]) -> Entry | None:
    """Return the entry of a class that a user has put into a namespace of this package."""
    cls, built_in = namespace.get(name), BUILT_IN.get(name)
    if not _is_module(cls) or cls is built_in or (built_in is None and is_built_in(cls)):
        return None
    return Entry(cls, rule_of(cls), replaced=built_in)


def _is_module(cls: object) -> TypeGuard[type]:
    from torch import nn

    return inspect.isclass(cls) and issubclass(cls, nn.Module)


def _unregistered(name: str, own: Mapping[str, Entry], namespace: Mapping[str, object]) -> Entry:
    """Return the entry of a class of `torch.nn`, or of this package's own that is not registered."""
    from torch import nn

    for space in (vars(nn), namespace):
        cls = space.get(name.removeprefix("nn."))
        if _is_module(cls):
            return Entry(cls, bind_plain if space is vars(nn) else rule_of(cls))
    raise ModelError(
        f"unknown module '{name}'.{did_you_mean(name, [*own, *REGISTRY, *dir(nn)])} "
        "Put @register above your own class, and name its file in the YAML (modules: [FILE.py]) or import it before."
    )


def parameters(cls: type) -> list[inspect.Parameter]:
    """Return the parameters of a constructor; one that passes all on (`*args`) has those of the next base."""
    found: list[inspect.Parameter] = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            found = [*inspect.signature(base.__init__).parameters.values()][1:]  # type: ignore[misc]  # only inspected
            if not found or found[0].kind is not inspect.Parameter.VAR_POSITIONAL:
                break
    return found


def rule_of(cls: type) -> Rule:
    """Return the rule that a class or one of its bases brought along, or else that of its signature."""
    mine = [p.name for p in parameters(cls)]
    for base in cls.__mro__:
        theirs = [p.name for p in parameters(base)] if base in _RULES else []
        if theirs and mine and all(a == b for a, b in zip(mine, theirs)):
            return _RULES[base]
    return _RULES.get(cls) or rule_from_signature(cls)


def rule_from_signature(cls: type) -> Rule:
    """Return the rule for the parameter names of a constructor (see the module's docstring)."""
    names = [p.name for p in parameters(cls)]
    first, second, third = [*names, "", "", ""][:3]
    if first in INPUTS and second in OUTPUTS:
        if third == "n":
            return bind_c3k(cls) if "c3k" in names else bind_repeated
        return bind_scaled
    if "ch" in names:
        return bind_channel_list
    if first in INPUTS:
        return bind_input
    return bind_joined if first == "dimension" else bind_plain


def bind_scaled(context: Context, args: list) -> Bound:
    """(c1, c2, ...): scale the output channels, unless none are given; repeats become a sequence of such layers."""
    if not args:
        return bind_input(context, args)
    c2 = context.scaled(args[0])
    return Bound([context.c1, c2, *args[1:]], c2, context.repeats)


def bind_repeated(context: Context, args: list) -> Bound:
    """(c1, c2, n, ...): as `bind_scaled`, with the repeats inside the module."""
    if not args:
        return bind_input(context, args)
    c2 = context.scaled(args[0])
    return Bound([context.c1, c2, context.repeats, *args[1:]], c2)


def bind_c3k(cls: type) -> Rule:
    """(c1, c2, n, c3k, ...): as `bind_repeated`; the scales m, l and x pass c3k=True, as YOLO11 defines them."""
    names, defaults = zip(*((p.name, p.default) for p in parameters(cls)))
    place = names.index("c3k")

    def bind(context: Context, args: list) -> Bound:
        bound = bind_repeated(context, args)
        if context.scale in {"m", "l", "x"}:
            given = bound.args
            bound.args[:] = [*given[:place], *defaults[len(given) : place], True, *given[place + 1 :]]
        return bound

    return bind


def bind_channel_list(context: Context, args: list) -> Bound:
    """(..., ch): the YAML arguments, then the channels of all inputs; the channels of the last input stay."""
    if context.repeats > 1:
        raise ModelError("it reads several layers, so it cannot be repeated. Write 1 repeat.")
    return Bound([*args, context.channels], context.channels[-1])


def bind_input(context: Context, args: list) -> Bound:
    """(c1, ...): the input channels, then the YAML arguments."""
    return Bound([context.c1, *args], context.c1, context.repeats)


def bind_joined(context: Context, args: list) -> Bound:
    """(dimension, ...): the YAML arguments as they stand; the channels of all inputs add up."""
    return Bound(list(args), sum(context.channels))


def bind_plain(context: Context, args: list) -> Bound:
    """Anything else: the YAML arguments as they stand."""
    return Bound(list(args), context.c1, context.repeats)
