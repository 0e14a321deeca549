"""Untrusted TorchScript: a graph is data, but its operators may write files, even while it is loaded.

`torch.jit.load` runs what a file calls `__setstate__`, and `aten::save` and `aten::from_file` write and read any file,
by a dozen spellings. So nothing is searched for: all that a file holds must be on lists of what `yolo export` and
ultralytics 8.x write, and PyTorch gets a new zip of what was checked, since two readers may find different contents in
one. A caller who knows a file that needs more can `trust` it.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import re
import zipfile
from pathlib import Path

from ultralytics.nn.formats.script_source import Refused, checked_sources
from ultralytics.nn.inert import STORAGES, Builder, InertUnpickler, Record, Storage, TensorRecord, rebuild_tensor
from ultralytics.utils.errors import ModelError, UserError
from ultralytics.utils.files import open_regular
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.archives import check_zip

TRUSTED: set[str] = set()  # hashes of the files that the caller trusts
METADATA = ("metadata.json", "config.txt")  # extra files that hold it: of this package, of ultralytics 8.x
_TENSORS = re.compile(r"(data|constants)/\d{1,7}")
_SOURCE = re.compile(r"code/(__torch__(?:/[A-Za-z_][A-Za-z0-9_]*)*)\.py")
_PICKLES = ("data.pkl", "constants.pkl")
_TEXTS = {"version": re.compile(rb"\d{1,4}\s?"), "byteorder": re.compile(rb"little|big")}
_NOT_READ = re.compile(  # what PyTorch writes as well and loading does not need: it is left out
    r"code/__torch__[\w/]*\.py\.debug_pkl|traced_inputs\.pkl|traced_inputs/\d{1,7}|\.data/serialization_id"
    r"|\.format_version|\.storage_alignment|bytecode\.pkl|mobile_debug_handles\.pkl", re.ASCII
)  # fmt: skip
_OPCODES = {
    "PROTO", "GLOBAL", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_LIST", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "NEWOBJ", "BUILD",
    "REDUCE", "BINPERSID", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "STOP",
}  # fmt: skip


def trust(file: str | Path) -> None:
    """Let a TorchScript file be opened in this process, whatever it holds; the caller vouches for it."""
    with open_regular(file) as f:
        TRUSTED.add(hashlib.sha256(f.read()).hexdigest())


def checked_script(file: str | Path) -> io.BytesIO:
    """Return the content of a TorchScript file for `torch.jit.load`.

    Raises:
        ModelError: it is damaged, or asks for something that exported models do not use; the message names it.
    """
    try:
        with open_regular(file) as f:
            whole = io.BytesIO(f.read()) if TRUSTED else None
            if whole and hashlib.sha256(whole.getbuffer()).hexdigest() in TRUSTED:
                return whole
            with zipfile.ZipFile(whole or f) as archive:
                check_zip(archive)
                return _rewritten(_members(archive), file)
    except UserError:
        raise
    except Refused as e:
        raise ModelError(
            f"The TorchScript file '{file}' asks for {e}, which exported models do not use and which could change "
            "files or run code. Nothing in it was run. Take the file from a source that you trust, or export it again; "
            "if you know what is in it, pass trust_modules=True."
        ) from None
    except Exception as e:  # zipfile and its decoders raise whatever the damage calls for
        raise ModelError(f"'{file}' is not a TorchScript file that can be read: damaged, or of another kind.") from e


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return the members that PyTorch will read, by their names without the top folder."""
    names = archive.namelist()
    top = names[0].partition("/")[0] + "/"
    members = {}
    for name in names:
        inner = name.removeprefix(top) if name.startswith(top) else ""
        if _NOT_READ.fullmatch(inner):
            continue
        known = inner in {*_PICKLES, *_TEXTS, *(f"extra/{extra}" for extra in METADATA)}
        if not known and not _TENSORS.fullmatch(inner) and not _SOURCE.fullmatch(inner):
            raise Refused(f"a member '{name[:200]}'")
        members[inner] = archive.read(name)
    if missing := next((name for name in (*_PICKLES, "version") if name not in members), ""):
        raise ValueError(f"no {missing}")
    return members


def _rewritten(members: dict[str, bytes], file: str | Path) -> io.BytesIO:
    """Return a new zip of the members, each of them checked."""
    sources = {found[1].replace("/", "."): name for name in members if (found := _SOURCE.fullmatch(name))}
    if sum(len(members[name]) for name in sources.values()) > limits.SCRIPT_BYTES:
        raise Refused(f"more than {limits.SCRIPT_BYTES} bytes of source")
    texts, classes = checked_sources({module: members[name].decode() for module, name in sources.items()})
    members |= {sources[module]: text.encode() for module, text in texts.items()}
    for name in _PICKLES:
        _check_pickle(name, members, classes, Path(file))
    for name, form in _TEXTS.items():
        if name in members and not form.fullmatch(members[name]):
            raise Refused(f"the {name} {members[name][:20]!r}")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as copy:
        for name, content in members.items():
            copy.writestr(f"model/{name}", content)
    made.seek(0)
    return made


def _check_pickle(name: str, members: dict[str, bytes], classes: set[str], file: Path) -> None:
    """Raise Refused unless a pickle holds only modules of the file's own classes, tensors and plain values."""
    puts = 0
    for code, argument, _ in pickletools.genops(members[name]):
        if code.name not in _OPCODES:
            raise Refused(f"the opcode {code.name} in {name}")
        if code.name in {"BINPUT", "LONG_BINPUT"}:
            if argument != puts:  # PyTorch makes room for all up to the greatest
                raise Refused(f"the memory {argument} in {name}")
            puts += 1
    source = io.BytesIO(members[name])
    reader = _ScriptUnpickler(source, file, classes)
    root = reader.load()
    if source.read(1) or not isinstance(root, tuple if name == "constants.pkl" else Record):
        raise Refused(f"a {type(root).__name__}, or more than one thing, in {name}")
    for storage in reader.storages.values():
        content = members.get(f"{name.removesuffix('.pkl')}/{storage.key}")
        if content is None or len(content) != storage.numel * storage.dtype.itemsize:
            raise Refused(f"a tensor of another size than its bytes, storage {storage.key[:20]} of {name}")


class _ScriptUnpickler(InertUnpickler):
    """An unpickler of TorchScript's pickles that also checks sizes, which PyTorch's reader in C++ does not."""

    def __init__(self, file: io.BytesIO, path: Path, classes: set[str]):
        super().__init__(file, path)
        self.classes = classes
        self.known: dict[str, object] = {
            "collections.OrderedDict": self._builders["collections.OrderedDict"],
            "torch._utils._rebuild_tensor_v2": Builder(self._tensor),
            **{f"torch.{kind}": dtype for kind, dtype in STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> object:
        """Return the substitute for a name in the pickle; raise Refused if it is not on the list."""
        full = f"{module}.{name}"
        if full in self.classes:
            return self.record_of(full)
        if full not in self.known:
            raise Refused(full[:200])
        return self.known[full]

    def persistent_load(self, pid: tuple) -> Storage:
        """Return a storage, which has one size and one type wherever it is named."""
        _, dtype, key, _, numel = pid
        storage = super().persistent_load(pid)
        if not isinstance(storage, Storage) or (storage.dtype, storage.numel) != (dtype, numel):
            raise Refused(f"the storage {key!r:.20} in two ways")
        return storage

    def _tensor(self, storage: Storage, offset: int, size: tuple, stride: tuple, *_: object) -> TensorRecord:
        """Return the record of a tensor that lies within its storage."""
        record = rebuild_tensor(storage, offset, size, stride)
        last = record.offset + sum((n - 1) * step for n, step in zip(record.size, record.stride))
        if len(size) != len(stride) or (all(record.size) and last >= storage.numel):
            raise Refused(f"a tensor of {record.size} beyond the end of its storage")
        return record
