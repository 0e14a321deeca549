"""Reading torch files without running code in them: classes become inert records, tensors are read on demand."""

from __future__ import annotations

import io
import math
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics.nn.inert import Array, InertUnpickler, Record, Storage, TensorRecord, plain_text
from ultralytics.utils.errors import CheckpointError, DataError, MissingFileError
from ultralytics.utils.files import open_regular
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.archives import check_zip

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of files written by torch before 1.6
AGAIN = "Copy or download it again, or train again."
NAME_ONE = "Name a .pt file written by training or by torch.save."
_KINDS = (  # how other files begin, to name them in the error
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"version https://git-lfs", "a Git LFS pointer (run 'git lfs pull')"),
    (b"%PDF", "a PDF document"),
)


class Archive:
    """A torch file opened for reading: `tree` is its content with records, `tensor` reads one tensor of it."""

    def __init__(self, path: str | Path):
        """Open a file of torch's zip format, or of the older one.

        Raises:
            MissingFileError: there is no such file.
            CheckpointError: it is not a torch file, it is damaged, or it asks for something that is not allowed.
        """
        self.path = Path(path)
        self._cache: dict[str, torch.Tensor] = {}
        self._legacy: dict[str, bytes] = {}
        self._zip: zipfile.ZipFile | None = None
        self._given = 0  # bytes of the tensors that were read
        self._root = ""  # folder in the zip file
        self._swapped = False  # whether the file has the other byte order
        self._check_file()
        try:
            self.tree: object = self._read_zip() if self._is_zip() else self._read_legacy()
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
        """Return the error for a file whose content made some code raise `e`."""
        cause = " ".join(f"{type(e).__name__}: {e}".split())[:200]
        return CheckpointError(f"The weight file '{self.path}' is damaged ({cause}). {AGAIN}")

    def _check_file(self) -> None:
        """Raise if the file's kind and first bytes show that it is not a weight file."""
        if self.path.is_dir():
            raise CheckpointError(
                f"'{self.path}' is a folder, not a weight file. Name the .pt file in it, such as best.pt."
            )
        if not self.path.exists():
            raise MissingFileError(
                f"The weight file '{self.path}' does not exist. Check the path and the working folder."
            )
        try:
            with open_regular(self.path) as f:
                head = f.read(512)
        except DataError as e:
            raise CheckpointError(str(e)) from e
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

    def _read_zip(self) -> object:
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

    def _read_legacy(self) -> object:
        """Read the format before torch 1.6: three small pickles, the content, the storages' keys, their bytes."""
        self._swapped = sys.byteorder != "little"
        with open_regular(self.path) as f:

            def load() -> tuple[object, dict[str, Storage]]:
                reader = InertUnpickler(f, self.path)
                return reader.load(), reader.storages

            first, _ = load()
            if first != LEGACY_MAGIC:
                raise CheckpointError(f"'{self.path}' is a plain pickle, not a weight file. {NAME_ONE}")
            load(), load()  # protocol version, sizes of integers
            tree, storages = load()
            keys, _ = load()
            if not isinstance(keys, list):
                raise ValueError("no list of storages")
            for key in keys:
                (numel,) = struct.unpack("<q", f.read(8))
                size = numel * storages[plain_text(key)].dtype.itemsize
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
        return self._zip.read(entry) if self._zip and entry else self._legacy[key]

    def _account(self, size: int) -> None:
        """Count the bytes of a tensor; any number of tensors may share one storage, and each will be copied."""
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

    def plain(self, value: object) -> Any:
        """Return a value without records, which become tensors, dicts (of namespaces) or else None."""
        return _Plain(self).convert(value)


class _Plain:
    """One conversion: remembers what it made, so that what is shared stays shared and a cycle is an error.

    What is shared counts as often as it is used: a list that holds one twice, which holds one twice, and so on, would
    be endless to copy or print.
    """

    def __init__(self, archive: Archive):
        self.archive = archive
        self.done: dict[int, tuple[object, object, int]] = {}  # the source is kept, so that its id stays its own
        self.count = 0

    def convert(self, value: object) -> object:
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
            raise ValueError(f"it holds more than {limits.PICKLE_NODES} values")

    def _convert(self, value: object) -> object:
        if isinstance(value, TensorRecord):
            return self.archive.tensor(value)
        if isinstance(value, Array):
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
        ValueError: it has more modules than any model; they may be few that contain each other.
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
    """Yield the same as `module_tensors`, and None for each module."""
    yield prefix, None
    hidden = module.state.get("_non_persistent_buffers_set") or ()
    for group, skip in ((module.state.get("_parameters"), ()), (module.state.get("_buffers"), hidden)):
        for name, value in (group or {}).items():
            if isinstance(value, TensorRecord) and name not in skip:
                yield f"{prefix}{name}", value
    for name, child in (module.state.get("_modules") or {}).items():
        if isinstance(child, Record):
            yield from _module_tensors(child, f"{prefix}{name}.")
