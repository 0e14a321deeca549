"""Weight files of some bytes that would take gigabytes or hours: refused, with little of either."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.unpickle import Archive
from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.pickles import pickle_in

START = b"\x80\x04"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def again(shared: bytes, call: bytes, times: int) -> bytes:
    """Opcodes that do a thing again and again with one memoised value (memory 0)."""
    return START + shared + b"q\x000(" + call * times + b"t."


NUMBERS = b"(" + b"".join(map(number, range(20_000)))
NONES = b"(" + b"N" * 100_000 + b"l"
PAIRS = b"(" + b"".join(number(i) + b"N\x86" for i in range(20_000)) + b"l"
DICT = b"(" + b"".join(number(i) + b"N" for i in range(20_000)) + b"d"
WORDS = b"(" + b"".join(text(f"a{i}") + b"N" for i in range(20_000)) + b"d"
TENSOR = name("torch._utils", "_rebuild_tensor_v2")
STORAGE = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x01tQ"
BUILT = "takes more than 16777216 bytes of memory"
BOMBS = {
    "bytearray8": (b"\x80\x05\x96" + struct.pack("<Q", 5 << 30) + b".", "holds the opcode 0x96"),
    "long4": (START + b"\x8b" + struct.pack("<i", 1 << 30) + b"\x01.", "holds the opcode 0x8b"),
    "binbytes8": (START + b"\x8e" + struct.pack("<Q", 5 << 30) + b"ab.", "ends too early"),
    "frame": (START + b"\x95" + struct.pack("<Q", 5 << 30) + b"N.", "ends too early"),
    "size": (again(NONES, name("torch", "Size") + b"h\x00\x85R", 2000), BUILT),
    "size of a text": (again(text("a" * 1000), name("torch", "Size") + b"h\x00\x85R", 2), "a str where a list belongs"),
    "set": (again(NONES, name("builtins", "set") + b"h\x00\x85R", 2000), BUILT),
    "frozenset": (again(NUMBERS + b"l", name("builtins", "frozenset") + b"h\x00\x85R", 2000), BUILT),
    "ordered dict": (again(PAIRS, name("collections", "OrderedDict") + b"h\x00\x85R", 2000), BUILT),
    "build": (again(DICT, name("torch.nn", "M") + b")\x81h\x00b", 2000), BUILT),
    "new object": (again(NUMBERS + b"t", name("torch.nn", "M") + b"h\x00\x81", 3000), BUILT),
    "new object by names": (again(WORDS, name("torch.nn", "M") + b")h\x00\x92", 2000), BUILT),
    "bytes": (again(text("a" * 1_000_000), name("_codecs", "encode") + b"h\x00\x85R", 1000), BUILT),
    "complex of a text": (again(text("1" * 9), name("builtins", "complex") + b"h\x00\x85R", 2), "a complex number of"),
    "long states": (again(b"(" + b"N" * 50_000 + b"t", name("torch.nn", "M") + b")\x81h\x00b", 2000), BUILT),
    "long names": (START + text("torch.nn") + text("M" * 1000) + b"\x93.", "a name of 1008 characters"),
    "long keys": (START + b"}(" + b"N" * 50_000 + b"tNs.", "a tuple of 50000 parts as a key"),
    "path": (START + text("a" * 5000) + b"q\x000" + name("pathlib", "PosixPath") + b"(" + b"h\x00" * 900 + b"tR.",
             "a path or device of more"),
    "device": (START + text("a" * 5000) + b"q\x000" + name("torch", "device") + b"(" + b"h\x00" * 9 + b"tR.",
               "a path or device of more"),
    "classes": (START + b"(" + b"".join(name("torch.nn", f"M{i}") for i in range(100_000)) + b"t.", BUILT),
    "records": (START + name("torch.nn", "M") + b"q\x000(" + b"h\x00)\x81" * 400_000 + b"t.", BUILT),
    "marks": (START + b"(" * 2_100_000 + b"t.", BUILT),
    "keys that meet": (START + b"}(" + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N"
                                              for i in range(1, 20_000)) + b"u.", "more than 10000 keys"),
    "keys of tuples": (START + b"}(" + b"".join(number(i) + b"\x85N" for i in range(20_000)) + b"u.", "10000 keys"),
    "giant sizes": (START + b"}" + text("a") + TENSOR + b"(" + STORAGE + b"K\x00(" + (b"\x8a\xff" + b"\x7f" * 255) * 50
                    + b"t)\x89NtRs.", "a tensor of impossible shape"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(work_dir, monkeypatch, bomb):
    """Under a limit of 16 MB, for speed: what counts is that it counts."""
    monkeypatch.setattr(limits, "PICKLE_BUILT", 16 << 20)
    data, words = BOMBS[bomb]
    with zipfile.ZipFile("bomb.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a/data.pkl", data)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint("bomb.pt")


@pytest.mark.parametrize("opcode", [b"\x8e", b"\x8d", b"\x95"])
def test_bombs_in_the_older_format(work_dir, opcode):
    """A file makes room for what is to be read from it, be it there or not."""
    head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}))
    Path("bomb.pt").write_bytes(head + START + opcode + struct.pack("<Q", 5 << 30) + b"ab.")
    with pytest.raises(CheckpointError, match="ends too early"):
        load_checkpoint("bomb.pt")


def test_honest_files_are_far_from_the_limit(work_dir, monkeypatch):
    from foreign import foreign_model, save_foreign

    from ultralytics.nn import unpickle

    found = []

    class Counting(unpickle.InertUnpickler):
        def load(self):
            tree = super().load()
            found.append((self.built, self.odd_keys))
            return tree

    monkeypatch.setattr(unpickle, "InertUnpickler", Counting)
    with Archive(save_foreign(Path("a.pt"), {"model": foreign_model()})):
        assert 0 < found[0][0] < limits.PICKLE_BUILT // 10 and found[0][1] < 100


def test_a_name_told_of_a_pickle_is_short(work_dir):
    """Each of 500,000 opcodes gave half a megabyte."""
    Path("a.npy").write_bytes(START + text("a" * 500_000) + b"2" + b"\x932" * 200_000 + b".")
    assert len(pickle_in("a.npy")) <= 200


@pytest.mark.skipif(os.name != "posix", reason="memory of a process is told on POSIX")
def test_the_real_limit_keeps_a_process_small(work_dir):
    import resource

    data, words = again(NONES, name("torch", "Size") + b"h\x00\x85R", 20_000), "takes more than 201326592 bytes"
    with zipfile.ZipFile("bomb.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a/data.pkl", data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint("bomb.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kB; it took 16 GB
