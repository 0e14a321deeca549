"""Unpickling without running code: whatever a pickle names becomes an inert record, and what it builds is counted.

A pickle is a small program that may call whatever it names. Here each name is looked up in one table of harmless
builders; names of module classes give a `Record`; any other name is refused before anything is called. Since a builder
may be called many times on one object, 200 bytes can ask for gigabytes: so the memory of each opcode is counted.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.hostile import limits

RECORDS = ("ultralytics.", "torch.nn.", "torch._C._nn.", "types.SimpleNamespace", "argparse.Namespace")

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_STEP = 100  # bytes of an opcode besides the value it makes: its place on the stack, in a dict, in the memo
_ENTRY = 100  # bytes of an entry of a dict
_PLACE = 32  # bytes of a place in a list, with the time to visit it
_RECORD = 400  # bytes of a record with its dicts
_CLASS = 2048  # bytes of a class
_DIMS = 64  # most dimensions of a tensor in torch
_WORD = 4096  # characters of a path or a device
_NAME = 300  # characters of a name with its module
_PARTS = 16  # of a tuple that is a key
_ODD_KEYS = 10_000  # keys whose hashes a file can choose, so that all of them collide

# The opcodes of a weight file. What the first ones push exists already, or costs no more than a step.
_MOVING = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "BINGET",
    "LONG_BINGET", "BINPUT", "LONG_BINPUT", "MEMOIZE", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD",
)  # fmt: skip
_MAKING = (
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2",
    "TUPLE3", "EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT", "EMPTY_SET", "FROZENSET", "GLOBAL", "STACK_GLOBAL", "INST",
    "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BINPERSID",
)  # fmt: skip


class _Sealed(type):
    """Metaclass of record classes: a pickle cannot set attributes on them."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"the file tries to change the class {cls.__name__}")


class Record(metaclass=_Sealed):
    """A stand-in for an object in a file: the name of its class, arguments and state, without behaviour."""

    __slots__ = ("args", "items", "state")
    path = ""  # the dotted name in the file
    args: tuple
    items: dict
    state: dict

    def __new__(cls, *args, **kwargs):
        self = object.__new__(cls)
        self.args, self.state, self.items = args, dict(kwargs), {}
        return self

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state: object) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.state.update(part)

    def __setitem__(self, key: object, value: object) -> None:  # a subclass of dict
        self.items[key] = value

    def append(self, value: object) -> None:  # a subclass of list
        self.items[len(self.items)] = value

    def __repr__(self) -> str:
        return f"<record of {self.path}>"

    @property
    def kind(self) -> str:
        """The class's name without its module: 'Conv2d'."""
        return self.path.rpartition(".")[2]

    def get(self, name: str, default: object = None) -> Any:
        """Return an attribute, parameter, buffer or submodule of the recorded object."""
        for group in (self.state, *(self.state.get(k) for k in ("_parameters", "_buffers", "_modules"))):
            if isinstance(group, dict) and name in group:
                return group[name]
        return default


class Storage(NamedTuple):
    """The memory of one or more tensors: `key` names the entry of the file that holds its bytes."""

    dtype: torch.dtype
    key: str
    numel: int


class TensorRecord(NamedTuple):
    """A view of a storage, in elements; `Archive.tensor` makes a tensor of it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Builder:
    """A function that a pickle may call but neither inspect nor change."""

    __slots__ = ("_run",)
    _run: Callable

    def __init__(self, run: Callable):
        object.__setattr__(self, "_run", run)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("the file tries to change a function")

    def __call__(self, *args):
        return self._run(*args)


class _Dtype(Record):
    """A NumPy dtype of plain numbers, such as '<f8'."""

    path = "numpy.dtype"
    __slots__ = ()

    def __new__(cls, code: str, *args):
        if not re.fullmatch(r"[<>=|]?[biufc]\d{1,2}|bool", plain_text(code)):
            raise pickle.UnpicklingError(f"a NumPy array of type {code[:20]!r}, where only plain numbers are allowed")
        return super().__new__(cls, code, *args)

    def resolve(self) -> np.dtype:
        orders = [p for p in self.items.get("state", ()) if p in ("<", ">")]
        dtype: np.dtype = np.dtype(self.args[0])
        return dtype.newbyteorder(">" if orders[0] == ">" else "<") if orders else dtype

    def __setstate__(self, state: object) -> None:
        self.items["state"] = state[:4] if isinstance(state, tuple) else ()


class Array(Record):
    """A NumPy array of plain numbers; `value` is the array, read-only."""

    path = "numpy.ndarray"
    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple):
            raise pickle.UnpicklingError("a NumPy array without state")
        _, shape, dtype, fortran, data = state
        self.items["value"] = np.frombuffer(data, dtype.resolve()).reshape(shape, order="F" if fortran else "C")

    @property
    def value(self) -> np.ndarray:
        return self.items.get("value", np.zeros(0))


def rebuild_tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *_) -> TensorRecord:
    """Return the record of a tensor."""
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without storage")
    (start,) = _counts((offset,))
    return TensorRecord(storage, start, _counts(size), _counts(stride))


def _counts(values: object) -> tuple[int, ...]:
    """Return checked numbers of a tensor's layout; those of hundreds of digits would take years to multiply."""
    if not isinstance(values, (tuple, list)) or len(values) > _DIMS:
        raise pickle.UnpicklingError("a tensor of impossible shape")
    if not all(isinstance(n, int) and 0 <= n < 1 << 63 for n in values):
        raise pickle.UnpicklingError("a tensor of impossible shape")
    return tuple(map(int, values))


def _complex(real: float, imaginary: float = 0.0) -> complex:
    if not isinstance(real, (int, float)) or not isinstance(imaginary, (int, float)):  # a text takes long to parse
        raise pickle.UnpicklingError("a complex number of something else")
    return complex(real, imaginary)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("text encoded otherwise than as latin1")
    return text.encode("latin1")  # how protocol 2 writes bytes


def _scalar(dtype: _Dtype, data: bytes) -> bool | int | float | complex:
    return np.frombuffer(data, dtype.resolve(), count=1)[0].item()


def _path(*parts: str) -> str:
    return _words(parts, lambda words: str(PurePosixPath(*words)))


def _device(*parts: object) -> str:
    return _words(parts, ":".join)


def _words(parts: tuple, join: Callable[[list[str]], str]) -> str:
    """Join texts, of which one may occur a thousand times."""
    words = list(map(plain_text, parts[:_DIMS]))
    if sum(map(len, words)) > _WORD or len(parts) > _DIMS:
        raise pickle.UnpicklingError(f"a path or device of more than {_WORD} characters")
    return join(words)


def plain_text(value: object) -> str:
    """Return a text or number as text; the text of nested lists could be endless."""
    if not isinstance(value, (str, int, float)):
        raise pickle.UnpicklingError(f"a {type(value).__name__} where a text belongs")
    return str(value)


def _builders(key: Callable[[object], Hashable], items: Callable[[object], Collection]) -> dict[str, object]:
    """Return the substitute of each allowed name: immutable types of Python's own, or sealed functions.

    Args:
        key: returns a key of a dict or a member of a set, and raises for what may not be one.
        items: returns and counts what is copied into another container.
    """

    def ordered(given: object = ()) -> OrderedDict:
        pairs = items(given)
        return OrderedDict((key(k), v) for k, v in (pairs.items() if isinstance(pairs, dict) else pairs))

    calls: dict[str, Callable] = {
        "builtins.set": lambda given=(): set(map(key, items(given))),
        "builtins.frozenset": lambda given=(): frozenset(map(key, items(given))),
        "builtins.slice": lambda *_: None,
        "builtins.complex": _complex,
        "collections.OrderedDict": ordered,
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "torch.Size": lambda sizes=(): tuple(items(sizes)),
        "torch.device": _device,
        "torch.torch_version.TorchVersion": plain_text,
        "collections.defaultdict": lambda *_: {},
        "_codecs.encode": _encode,
        "numpy.core.multiarray.scalar": _scalar,
        "numpy.core.multiarray._reconstruct": lambda *_: Array(),
        "numpy.ndarray": lambda *_: Array(),
        **{f"pathlib.{pure}{kind}Path": _path for pure in ("", "Pure") for kind in ("", "Posix", "Windows")},
    }
    storages = {f"torch.{k}": v for k, v in STORAGES.items()}
    dtypes = {f"torch.{k}": v for k, v in vars(torch).items() if isinstance(v, torch.dtype)}
    return {**{k: Builder(v) for k, v in calls.items()}, **storages, **dtypes, "numpy.dtype": _Dtype}


class _Rest:
    """The rest of a file. `read` of more bytes than are left fails at once, where a file would allocate them first."""

    def __init__(self, file: IO[bytes]):
        self.file, here = file, file.tell()
        self.left = file.seek(0, 2) - here
        file.seek(here)

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise EOFError("it ends too early")
        self.left -= size
        return self.file.read(size)

    def readline(self) -> bytes:
        line = self.file.readline()
        self.left -= len(line)
        return line


class _Opcodes(dict):
    """The functions that run each opcode that is allowed."""

    def __missing__(self, code: int) -> Callable:
        raise pickle.UnpicklingError(f"no weight file holds the opcode {code:#x}")


class InertUnpickler(pickle._Unpickler):
    """An unpickler whose names are all inert and whose opcodes are all counted; see the module's docstring.

    It extends the one in Python: that in C allocates a memo of whatever size a pickle of 20 bytes names.
    """

    dispatch = _Opcodes()
    stack: list  # of the objects that are being built

    def __init__(self, file: IO[bytes], path: Path):
        super().__init__(_Rest(file), encoding="utf-8")
        self.path = path
        self.storages: dict[str, Storage] = {}
        self.built = self.odd_keys = 0
        self._builders = _builders(self.key, self.items)
        self._classes: dict[str, _Sealed] = {}

    def count(self, size: int) -> None:
        """Count bytes of memory that are about to be taken, or were."""
        self.built += size
        if self.built > limits.PICKLE_BUILT:
            raise pickle.UnpicklingError(f"its description takes more than {limits.PICKLE_BUILT} bytes of memory")

    def items(self, values: object) -> Collection:
        """Return and count values that are copied into another container, even if that keeps few of them."""
        if not isinstance(values, (list, tuple, dict, set, frozenset)):  # a text would take eight times its size
            raise pickle.UnpicklingError(f"a {type(values).__name__} where a list belongs")
        self.count(_PLACE * len(values))
        return values

    def key(self, value: object) -> Hashable:
        """Return a key of a dict or a member of a set; the hash of nested tuples could take years to compute."""
        parts: tuple = value if type(value) is tuple else (value,)
        if len(parts) > _PARTS:  # its hash is computed again each time
            raise pickle.UnpicklingError(f"a tuple of {len(parts)} parts as a key")
        for part in parts:
            if not isinstance(part, (str, int, float, complex, bytes, type(None), torch.dtype, Record)):
                raise pickle.UnpicklingError(f"a {type(part).__name__} as a key")
        if parts is value or isinstance(value, (float, complex)) or (isinstance(value, int) and abs(value) >> 60):
            self.odd_keys += 1
            if self.odd_keys > _ODD_KEYS:
                raise pickle.UnpicklingError(f"more than {_ODD_KEYS} keys that are neither texts nor whole numbers")
        return value

    def find_class(self, module: str, name: str) -> object:
        """Return the substitute for a name in the pickle.

        Raises:
            CheckpointError: it is not on the list.
        """
        if len(module) + len(name) > _NAME:
            raise pickle.UnpicklingError(f"a name of {len(module) + len(name)} characters")
        module = {"__builtin__": "builtins", "pathlib._local": "pathlib"}.get(module, module)
        module = module.replace("numpy._core", "numpy.core", 1)
        full = f"{module}.{name}"
        if full in self._builders:
            return self._builders[full]
        plain = all(part.isidentifier() and not part.startswith("__") for part in full.split("."))
        if plain and "." not in name and full.startswith(RECORDS):
            return self.record_of(full)
        raise CheckpointError(
            f"The weight file '{self.path}' asks for {full[:200]}, which a weight file may not ask for, since it could "
            f"run code. Nothing in it was run. Take the file from a source that you trust; if it is your own, "
            f"save its weights alone with torch.save(model.state_dict(), ...) and load them into a model YAML."
        )

    def record_of(self, full: str) -> _Sealed:
        """Return the subclass of `Record` for a class in the file."""
        if full not in self._classes:
            self.count(_CLASS)
            name = full.rpartition(".")[2]
            self._classes[full] = _Sealed(name, (Record,), {"path": full, "__slots__": ()})
        return self._classes[full]

    def persistent_load(self, pid: tuple) -> object:
        """Return the storage that a tensor refers to, or the class that the older format wraps with its source code."""
        if pid[0] == "module":
            return pid[1]
        kind, dtype, key, _, numel = pid[:5]
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("an unknown reference")
        key = plain_text(key)
        (count,) = _counts((numel,))
        return self.storages.setdefault(key, Storage(dtype, key, count))


def _copied(state: object) -> int:
    """Return the bytes that the copy of a record's state takes."""
    parts = state if isinstance(state, tuple) else (state,)
    return _RECORD + _PLACE * len(parts) + _ENTRY * sum(len(part) for part in parts if isinstance(part, dict))


# Bytes that an opcode takes besides its result, by the stack before it runs
_TAKES: dict[str, Callable[[list], int]] = {
    "REDUCE": lambda stack: _RECORD + sys.getsizeof(stack[-1]),
    "NEWOBJ": lambda stack: _RECORD + sys.getsizeof(stack[-1]),
    "NEWOBJ_EX": lambda stack: _copied(stack[-1]) + sys.getsizeof(stack[-2]),
    "INST": lambda stack: _RECORD,
    "OBJ": lambda stack: _RECORD,
    "BINPERSID": lambda stack: _RECORD,
    "BUILD": lambda stack: _copied(stack[-1]),
}

# Objects that become keys, by the same stack
_KEYS: dict[str, Callable[[list], list]] = {
    "SETITEM": lambda stack: stack[-2:-1],
    "SETITEMS": lambda stack: stack[::2],
    "DICT": lambda stack: stack[::2],
    "ADDITEMS": lambda stack: stack,
    "FROZENSET": lambda stack: stack,
}


def _counted(name: str) -> Callable[[InertUnpickler], None]:
    """Return a function that runs an opcode of pickle and counts what it takes before and what it makes after."""
    run: Callable = pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
    takes, keys, makes = _TAKES.get(name), _KEYS.get(name), name in _MAKING

    def counted(self: InertUnpickler) -> None:
        self.count(_STEP + (takes(self.stack) if takes else 0))
        for value in keys(self.stack) if keys else ():
            self.key(value)
        run(self)
        if makes:
            self.count(sys.getsizeof(self.stack[-1]))

    return counted


InertUnpickler.dispatch.update({getattr(pickle, name)[0]: _counted(name) for name in (*_MOVING, *_MAKING)})
