"""Read a torch file without running anything in it: classes become inert records, tensors are read when asked for.

A pickle is a small program that may call whatever it names. Here each name is looked up in one table of harmless
builders; names of module classes give a `Record`; any other name is refused before anything is called.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch

from ultralytics.utils import limits
from ultralytics.utils.archives import check_zip
from ultralytics.utils.errors import CheckpointError, MissingFileError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of files written by torch before 1.6
AGAIN = "Copy or download it again, or train anew."
NAME_ONE = "Name a .pt file written by training or by torch.save."
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

_KINDS = (  # how files that are no checkpoint begin, to name them in the error
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"version https://git-lfs", "a Git LFS pointer (run 'git lfs pull')"),
    (b"%PDF", "a PDF document"),
)


class _Sealed(type):
    """Metaclass of record classes: a pickle cannot set attributes on them."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"the file tries to change the class {cls.__name__}")


class Record(metaclass=_Sealed):
    """What stands for an object in a file: the name of its class, the arguments and the state, and no behaviour."""

    __slots__ = ("args", "items", "state")
    path = ""  # the dotted name in the file

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


class _Builder:
    """A function that a pickle may call; a pickle cannot look into it or change it."""

    __slots__ = ("_run",)

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
        if not re.fullmatch(r"[<>=|]?[biufc]\d{1,2}|bool", _plain_text(code)):
            raise pickle.UnpicklingError(f"a NumPy array of type {code[:20]!r}, where only plain numbers are allowed")
        return super().__new__(cls, code, *args)

    def resolve(self) -> np.dtype:
        order = next((p for p in self.items.get("state", ()) if p in ("<", ">")), "")
        dtype = np.dtype(self.args[0])
        return dtype.newbyteorder(order) if order else dtype

    def __setstate__(self, state: object) -> None:
        self.items["state"] = state if isinstance(state, tuple) else ()


class _Array(Record):
    """A NumPy array of plain numbers; `value` is the array, read-only."""

    path = "numpy.ndarray"
    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        _, shape, dtype, fortran, data = state
        self.items["value"] = np.frombuffer(data, dtype.resolve()).reshape(shape, order="F" if fortran else "C")

    @property
    def value(self) -> np.ndarray:
        return self.items.get("value", np.zeros(0))


def _rebuild_tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *_) -> TensorRecord:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without storage")
    return TensorRecord(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("text encoded otherwise than as latin1")
    return text.encode("latin1")  # how protocol 2 writes bytes


def _scalar(dtype: _Dtype, data: bytes) -> bool | int | float | complex:
    return np.frombuffer(data, dtype.resolve(), count=1)[0].item()


def _path(*parts: str) -> str:
    return str(PurePosixPath(*map(_plain_text, parts)))


def _plain_text(value: object) -> str:
    """Return a text or number as text; of lists in lists it could be one without end."""
    if not isinstance(value, (str, int, float)):
        raise pickle.UnpicklingError(f"a {type(value).__name__} where a text belongs")
    return str(value)


def _hashed(value: Any) -> Any:
    """Return a key of a dict or a member of a set; the hash of tuples in tuples could take years to compute."""
    for part in value if type(value) is tuple else (value,):
        if not isinstance(part, (str, int, float, complex, bytes, type(None), torch.dtype, Record)):
            raise pickle.UnpicklingError(f"a {type(part).__name__} as a key")
    return value


def _ordered(pairs: Any = ()) -> OrderedDict:
    return OrderedDict((_hashed(k), v) for k, v in (pairs.items() if isinstance(pairs, dict) else pairs))


def _builders() -> dict[str, Any]:
    """Return what each allowed name gives: immutable types of Python's own, or sealed functions made for one file."""
    calls = {
        "builtins.set": lambda items=(): set(map(_hashed, items)),
        "builtins.frozenset": lambda items=(): frozenset(map(_hashed, items)),
        "builtins.slice": lambda *_: None,
        "builtins.complex": complex,
        "collections.OrderedDict": _ordered,
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "torch.Size": lambda sizes=(): tuple(sizes),
        "torch.device": lambda *parts: ":".join(map(_plain_text, parts)),
        "torch.torch_version.TorchVersion": _plain_text,
        "collections.defaultdict": lambda *_: {},
        "_codecs.encode": _encode,
        "numpy.core.multiarray.scalar": _scalar,
        "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
        "numpy.ndarray": lambda *_: _Array(),
        **{f"pathlib.{pure}{kind}Path": _path for pure in ("", "Pure") for kind in ("", "Posix", "Windows")},
    }
    storages = {f"torch.{k}": v for k, v in STORAGES.items()}
    dtypes = {f"torch.{k}": v for k, v in vars(torch).items() if isinstance(v, torch.dtype)}
    return {**{k: _Builder(v) for k, v in calls.items()}, **storages, **dtypes, "numpy.dtype": _Dtype}


class InertUnpickler(pickle._Unpickler):
    """An unpickler whose every name is inert; see the module's docstring.

    It is the one written in Python: that in C makes room for as many memories as a pickle of 20 bytes says it has.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: io.BufferedIOBase | io.BytesIO, path: Path):
        super().__init__(file, encoding="utf-8")
        self.path = path
        self.storages: dict[str, Storage] = {}
        self._builders = _builders()
        self._classes: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle stands for.

        Raises:
            CheckpointError: it is not on the list.
        """
        module = {"__builtin__": "builtins", "pathlib._local": "pathlib"}.get(module, module)
        module = module.replace("numpy._core", "numpy.core", 1)
        full = f"{module}.{name}"
        if full in self._builders:
            return self._builders[full]
        plain = all(part.isidentifier() and not part.startswith("__") for part in full.split("."))
        if plain and "." not in name and full.startswith(RECORDS):
            if full not in self._classes:
                self._classes[full] = _Sealed(name, (Record,), {"path": full, "__slots__": ()})
            return self._classes[full]
        raise CheckpointError(
            f"The weight file '{self.path}' asks for {full[:200]}, which a weight file may not ask for, since it could "
            f"run code. Nothing in it was run. Take the file from a source that you trust; if it is your own, "
            f"save its weights alone with torch.save(model.state_dict(), ...) and load them into a model YAML."
        )

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that a tensor refers to, or the class that the older format wraps with its source code."""
        if pid[0] == "module":
            return pid[1]
        kind, dtype, key, _, numel, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("an unknown reference")
        key = _plain_text(key)
        return self.storages.setdefault(key, Storage(dtype, key, int(numel)))


def _guarded(code: int, picked: Callable[[list], list]) -> Callable:
    """Return what runs an opcode of pickle after a look at what becomes a key; `picked` finds it on the stack."""

    def run(self: InertUnpickler) -> None:
        for value in picked(self.stack):
            _hashed(value)
        pickle._Unpickler.dispatch[code](self)

    return run


InertUnpickler.dispatch |= {
    code: _guarded(code, picked)
    for code, picked in {
        pickle.SETITEM[0]: lambda stack: stack[-2:-1],
        pickle.SETITEMS[0]: lambda stack: stack[::2],
        pickle.DICT[0]: lambda stack: stack[::2],
        pickle.ADDITEMS[0]: lambda stack: stack,
        pickle.FROZENSET[0]: lambda stack: stack,
    }.items()
}


class Archive:
    """A torch file opened for reading: `tree` is its content with records, `tensor` reads one tensor of it."""

    def __init__(self, path: str | Path):
        """Open a file of torch's zip format, or of the older one.

        Raises:
            MissingFileError: there is no such file.
            CheckpointError: it is no torch file, it is damaged, or it asks for something that is not allowed.
        """
        self.path = Path(path)
        self._cache: dict[str, torch.Tensor] = {}
        self._legacy: dict[str, bytes] = {}
        self._zip: zipfile.ZipFile | None = None
        self._given = 0
        self._check_file()
        try:
            self.tree = self._read_zip() if self._is_zip() else self._read_legacy()
        except CheckpointError:
            self.close()
            raise
        except Exception as e:  # a damaged pickle can raise anything
            self.close()
            raise self.damaged(e) from e

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; tensors already read stay."""
        if self._zip:
            self._zip.close()

    def damaged(self, e: Exception) -> CheckpointError:
        """Return the error for a file that made another part of this program raise `e`."""
        cause = " ".join(f"{type(e).__name__}: {e}".split())[:200]
        return CheckpointError(f"The weight file '{self.path}' is damaged ({cause}). {AGAIN}")

    def _check_file(self) -> None:
        """Raise where a look at the file's kind and first bytes shows that it is no weight file."""
        if self.path.is_dir():
            raise CheckpointError(
                f"'{self.path}' is a folder, not a weight file. Name the .pt file in it, such as best.pt."
            )
        if not self.path.exists():
            raise MissingFileError(
                f"The weight file '{self.path}' does not exist. Check the path and the working folder."
            )
        try:
            with open(self.path, "rb") as f:
                head = f.read(512)
        except OSError as e:
            reason = f"cannot be read: {e.strerror}. Check its permissions."
            raise CheckpointError(f"The weight file '{self.path}' {reason}") from e
        if not head:
            raise CheckpointError(f"The weight file '{self.path}' has 0 bytes. {AGAIN}")
        what = next((words for start, words in _KINDS if head.startswith(start)), "")
        if not what and head[8:9] == b"{":
            what = "a safetensors file"
        if what:
            raise CheckpointError(f"'{self.path}' is {what}, not a weight file. {NAME_ONE}")
        if head.startswith(b"PK") and not self._is_zip():
            raise CheckpointError(f"The weight file '{self.path}' is truncated: its end is missing. {AGAIN}")
        if not head.startswith((b"PK", b"\x80")):
            raise CheckpointError(f"'{self.path}' is not a weight file: its content is of no known kind. {NAME_ONE}")

    def _is_zip(self) -> bool:
        try:
            return zipfile.is_zipfile(self.path)
        except zipfile.BadZipFile as e:  # it is one, and damaged
            raise self.damaged(e) from e

    def _read_zip(self) -> Any:
        self._zip = zipfile.ZipFile(self.path)
        check_zip(self._zip)
        names = self._zip.namelist()
        entry = min((n for n in names if n.endswith("data.pkl")), key=len, default=None)
        if entry is None or any(n.endswith("/constants.pkl") for n in names):
            what = "a zip file without weights" if entry is None else "a TorchScript export, not a checkpoint"
            raise CheckpointError(f"'{self.path}' is {what}. {NAME_ONE}")
        self._root = entry.removesuffix("data.pkl")
        if self._zip.getinfo(entry).file_size > limits.PICKLE_BYTES:
            raise ValueError(f"its description has more than {limits.PICKLE_BYTES} bytes")
        order = self._root + "byteorder"
        self._swapped = order in names and self._zip.read(order).decode().strip() != sys.byteorder
        return InertUnpickler(io.BytesIO(self._zip.read(entry)), self.path).load()

    def _read_legacy(self) -> Any:
        """Read the format before torch 1.6: three small pickles, the content, the storages' keys, their bytes."""
        self._swapped = sys.byteorder != "little"
        with open(self.path, "rb") as f:

            def load() -> tuple[Any, dict[str, Storage]]:
                reader = InertUnpickler(f, self.path)
                return reader.load(), reader.storages

            first, _ = load()
            if first != LEGACY_MAGIC:
                raise CheckpointError(f"'{self.path}' is a plain pickle, not a weight file. {NAME_ONE}")
            load(), load()  # protocol version, sizes of integers
            tree, storages = load()
            for key in load()[0]:
                (numel,) = struct.unpack("<q", f.read(8))
                size = numel * storages[_plain_text(key)].dtype.itemsize
                if not 0 <= size <= self.path.stat().st_size:
                    raise ValueError(f"storage {key} of {numel} numbers")
                self._legacy[str(key)] = f.read(size)
        return tree

    def _bytes(self, key: str, size: int) -> bytes:
        """Return the bytes of a storage, which must be `size` in number."""
        entry = self._zip.getinfo(f"{self._root}data/{key}") if self._zip else None
        found = entry.file_size if entry else len(self._legacy[key])
        if found != size:
            raise ValueError(f"storage {key} has {found} bytes, not {size}")
        return self._zip.read(entry) if entry else self._legacy[key]

    def _account(self, size: int) -> None:
        """Count the bytes of a tensor; tensors without end may share one storage, and each will be copied."""
        self._given += size
        if self._given > limits.SHARED * self.path.stat().st_size + 64 * limits.MIB:
            raise ValueError("its tensors are many times as large as the file")

    def tensor(self, record: TensorRecord) -> torch.Tensor:
        """Return the tensor that a record stands for; tensors that share storage in the file share it here.

        Raises:
            CheckpointError: its bytes are missing, damaged or too few.
        """
        dtype, key, numel = record.storage
        try:
            if math.prod(record.size) > numel:
                raise ValueError(f"a tensor of size {record.size} in a storage of {numel}")
            self._account(math.prod(record.size) * dtype.itemsize)
            if key not in self._cache:
                data = bytearray(self._bytes(key, numel * dtype.itemsize))
                if self._swapped:
                    data = bytearray(np.frombuffer(data, f"u{dtype.itemsize}").byteswap().tobytes())
                self._cache[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            return self._cache[key].as_strided(record.size, record.stride, record.offset)
        except Exception as e:  # zlib, zipfile and torch each have their own
            raise self.damaged(e) from e

    def plain(self, value: Any) -> Any:
        """Return a value without records: they become tensors, dicts (of namespaces) or else None."""
        return _Plain(self).convert(value)


class _Plain:
    """One conversion: remembers what it made, so that what is shared stays shared and a cycle is an error.

    What is shared counts as often as it is used: a list that holds one twice, which holds one twice, and so on, would
    be endless for whoever copies or prints it.
    """

    def __init__(self, archive: Archive):
        self.archive = archive
        self.done: dict[int, tuple[Any, Any, int]] = {}  # the source is kept, so that its id stays its own
        self.count = 0

    def convert(self, value: Any) -> Any:
        if isinstance(value, (str, bytes, int, float, complex, type(None), torch.dtype)):
            self._add(1 + (len(value) // 64 if isinstance(value, (str, bytes)) else 0))
            return value
        if id(value) in self.done:
            self._add(self.done[id(value)][2])
        else:
            self.done[id(value)], before = (value, None, 1), self.count
            self._add(1)
            made = self._convert(value)
            self.done[id(value)] = (value, made, self.count - before)
        return self.done[id(value)][1]

    def _add(self, count: int) -> None:
        self.count += count
        if self.count > limits.PICKLE_NODES:
            raise ValueError(f"it stands for more than {limits.PICKLE_NODES} values")

    def _convert(self, value: Any) -> Any:
        if isinstance(value, TensorRecord):
            return self.archive.tensor(value)
        if isinstance(value, _Array):
            self._add(value.value.nbytes // 64)
            return torch.from_numpy(value.value.copy())
        if isinstance(value, dict):
            return {self.convert(k): self.convert(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.convert(v) for v in value) if type(value) in (list, tuple) else None
        if isinstance(value, (set, frozenset)):
            return [self.convert(v) for v in value]
        if isinstance(value, Record):
            if value.items:
                return {self.convert(k): self.convert(v) for k, v in value.items.items()}
            return self.convert(value.state) if value.kind.endswith("Namespace") else None
        return None


def module_tensors(module: Record, prefix: str = "") -> Iterator[tuple[str, TensorRecord]]:
    """Yield names and tensors of a recorded module in the order of `state_dict()`: parameters, buffers, children.

    Raises:
        ValueError: it has more modules than any model; they may be few that stand in each other.
    """
    for i, (name, tensor) in enumerate(_module_tensors(module, prefix)):
        if i > limits.MODULES:
            break
        if tensor is not None:
            yield name, tensor
    else:
        return
    raise ValueError(f"it has more than {limits.MODULES} modules and tensors")


def _module_tensors(module: Record, prefix: str) -> Iterator[tuple[str, TensorRecord | None]]:
    """Yield the same, and None for each module."""
    yield prefix, None
    hidden = module.state.get("_non_persistent_buffers_set") or ()
    for group, skip in ((module.state.get("_parameters"), ()), (module.state.get("_buffers"), hidden)):
        for name, value in (group or {}).items():
            if isinstance(value, TensorRecord) and name not in skip:
                yield f"{prefix}{name}", value
    for name, child in (module.state.get("_modules") or {}).items():
        if isinstance(child, Record):
            yield from _module_tensors(child, f"{prefix}{name}.")
