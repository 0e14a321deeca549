"""Fuzz target: weight files whose pickle a grammar of opcodes makes, not damage to a good one.

What stands on the stack is known while opcodes are written, so most pickles run to their end: containers in
containers, calls of names that are allowed and of names that run code, one value taken again thousands of times.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from fuzz_mutations import EVIL

from ultralytics.utils.errors import UserError

BUILDERS = (
    "builtins set", "builtins frozenset", "builtins slice", "builtins complex", "collections OrderedDict", "torch Size",
    "collections defaultdict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch device",
    "torch._utils _rebuild_parameter_with_state", "torch.torch_version TorchVersion", "_codecs encode", "numpy dtype",
    "numpy.core.multiarray scalar", "numpy._core.multiarray _reconstruct", "numpy ndarray", "pathlib PosixPath",
    "pathlib._local WindowsPath", "torch float32", "torch FloatStorage", "torch ByteStorage", "torch LongStorage",
)  # fmt: skip
CLASSES = (
    "ultralytics.nn.tasks DetectionModel", "ultralytics.nn.modules.head Detect", "ultralytics.nn.modules.conv Conv",
    "torch.nn.modules.conv Conv2d", "torch.nn.modules.container Sequential", "types SimpleNamespace",
    "ultralytics.utils IterableSimpleNamespace", "argparse Namespace", "torch.nn.modules.module __init__",
)  # fmt: skip
KEYS = (
    "model", "ema", "epoch", "format", "format_version", "task", "names", "nc", "stride", "args", "yaml",
    "best_fitness", "train_args", "date", "version", "_modules", "_parameters", "_buffers", "weight", "bias", "0",
    "1", "state_dict", "training", "backbone", "head", "ch", "kpt_shape", "_non_persistent_buffers_set", "optimizer",
    "imgsz",
)  # fmt: skip
TEXTS = ("", "ghost", "detect", "pose", "latin1", "<f8", "f99", "O", "cpu", "cuda:99", "storage", "module", "\ud800",
         "../x", "a\0b", "a" * 5000, "9" * 5000, "nan", "yolo11n.yaml", "1e999")  # fmt: skip
NUMBERS = (0, 1, 2, 3, 64, 255, 65_535, -1, 2**31 - 1, -(2**31), 2**61 - 1, 2**63, 10**30, 10**500)


class Writer:
    """Writes opcodes of one pickle; each method leaves one value more on the stack."""

    def __init__(self, rng: random.Random):
        self.rng, self.made = rng, bytearray(b"\x80" + bytes([rng.choice((2, 2, 3, 4, 5))]))
        self.kept = 0  # values in the memo
        self.room = rng.choice((20, 100, 400))  # values that may still be written

    def add(self, *parts: bytes) -> None:
        for part in parts:
            self.made += part

    def value(self, depth: int = 0) -> None:
        """Write any value."""
        self.room -= 1
        plain = (self.number, self.text, self.constant, self.again, self.blob)
        deep = (self.tuple, self.list, self.dict, self.set, self.call, self.object, self.tensor, self.shared, self.name)
        self.rng.choice(plain if depth > 5 or self.room < 0 else (*plain, *deep, *deep))(depth + 1)
        if self.rng.random() < 0.2:
            self.keep()
        if self.rng.random() < 0.01:  # an opcode where none belongs
            self.add(bytes([self.rng.randrange(256)]))

    def keep(self) -> None:
        """Put what is on top into the memo."""
        n = self.kept if self.rng.random() < 0.98 else self.rng.choice((2**16, 2**31, 2**32 - 1))
        self.add(b"q" + bytes([n]) if n < 256 else b"r" + struct.pack("<I", n))
        self.kept += 1

    # Plain values -----------------------------------------------------------------------------------------------------

    def number(self, depth: int = 0) -> None:
        n = self.rng.choice(NUMBERS)
        if self.rng.random() < 0.1:
            self.add(b"G", struct.pack(">d", self.rng.choice((0.5, float("nan"), float("inf"), 2.0**61))))
        elif 0 <= n < 256:
            self.add(b"K", bytes([n]))
        elif -(2**31) <= n < 2**31:
            self.add(b"J", struct.pack("<i", n))
        else:
            data = pickle.encode_long(n)
            self.add(b"\x8a" + bytes([len(data)]) if len(data) < 256 else b"\x8b" + struct.pack("<i", len(data)), data)

    def text(self, depth: int = 0, words: tuple[str, ...] = (*KEYS, *TEXTS)) -> None:
        data = self.rng.choice(words).encode("utf-8", "surrogatepass")
        length = len(data) if self.rng.random() < 0.99 else self.rng.choice((2**31, 2**32 - 1))
        if self.rng.random() < 0.1:
            self.add(b"\x8d", struct.pack("<Q", length), data)
        else:
            self.add(b"X", struct.pack("<I", length), data)

    def blob(self, depth: int = 0) -> None:
        size = self.rng.choice((0, 4, 8, 24, 1000))
        kind, form = self.rng.choice(((b"B", "<I"), (b"\x8e", "<Q"), (b"T", "<i"), (b"\x96", "<Q")))
        length = size if self.rng.random() < 0.95 else self.rng.choice((2**30, 2**31 - 1))
        self.add(kind, struct.pack(form, length), bytes(size))

    def constant(self, depth: int = 0) -> None:
        self.add(self.rng.choice((b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f")))

    def again(self, depth: int = 0) -> None:
        """Take a value from the memo, mostly one that is there."""
        n = self.rng.randrange(self.kept) if self.kept and self.rng.random() < 0.97 else self.kept + 7
        if not self.kept:
            return self.constant()
        self.add(b"h" + bytes([n]) if n < 256 else b"j" + struct.pack("<I", n))

    # Containers -------------------------------------------------------------------------------------------------------

    def some(self, depth: int, most: int = 5) -> int:
        n = self.rng.randrange(most)
        for _ in range(n):
            self.value(depth)
        return n

    def tuple(self, depth: int = 0) -> None:
        if self.rng.random() < 0.4:
            for _ in range(n := self.rng.randint(1, 3)):
                self.value(depth)
            self.add((b"\x85", b"\x86", b"\x87")[n - 1])
        else:
            self.add(b"(")
            self.some(depth)
            self.add(b"t")

    def list(self, depth: int = 0) -> None:
        form = self.rng.randrange(3)
        self.add((b"(", b"](", b"]q\xfe(")[form])
        self.some(depth)
        if form == 2 and self.rng.random() < 0.3:
            self.add(b"h\xfe")  # itself
        self.add(b"l" if form == 0 else b"e")

    def dict(self, depth: int = 0) -> None:
        form = self.rng.randrange(2)
        self.add((b"(", b"}(")[form])
        for _ in range(self.rng.randrange(6)):
            self.text(words=KEYS) if self.rng.random() < 0.85 else self.value(depth)
            self.value(depth)
        self.add(b"d" if form == 0 else b"u")

    def set(self, depth: int = 0) -> None:
        form = self.rng.randrange(2)
        self.add((b"(", b"\x8f(")[form])
        for _ in range(self.rng.randrange(4)):
            self.text() if self.rng.random() < 0.8 else self.value(depth)
        self.add(b"\x91" if form == 0 else b"\x90")

    # Names, calls, objects --------------------------------------------------------------------------------------------

    def name(self, depth: int = 0, names: tuple[str, ...] = ()) -> None:
        odds = self.rng.random()
        full = self.rng.choice(names or (EVIL if odds < 0.03 else BUILDERS if odds < 0.6 else CLASSES))
        module, attribute = full.split(" ")
        if self.rng.random() < 0.7:
            self.add(b"c", module.encode(), b"\n", attribute.encode(), b"\n")
        else:
            self.text(words=(module,))
            self.text(words=(attribute,))
            self.add(b"\x93")

    def call(self, depth: int = 0) -> None:
        form = self.rng.randrange(10)
        if form == 0:
            self.add(b"(")
            self.name()
            self.some(depth)
            self.add(b"o")
        elif form == 1:
            self.add(b"(")
            self.some(depth)
            self.add(b"i", self.rng.choice(CLASSES).replace(" ", "\n").encode(), b"\n")
        else:
            self.name(names=BUILDERS if self.rng.random() < 0.9 else ())
            self.tuple(depth)
            self.add(b"R")

    def object(self, depth: int = 0) -> None:
        """Write an object with a state, as models have one."""
        self.name(names=CLASSES)
        if self.rng.random() < 0.8:
            self.add(b")\x81")
        else:
            self.tuple(depth)
            if self.rng.random() < 0.5:
                self.dict(depth)
                self.add(b"\x92")
            else:
                self.add(b"\x81")
        self.dict(depth) if self.rng.random() < 0.8 else self.value(depth)
        self.add(b"b")

    def tensor(self, depth: int = 0) -> None:
        """Write a tensor, which mostly lies in its storage of four numbers."""
        odd = self.rng.random() < 0.1
        self.add(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage")
        self.name(names=("torch ByteStorage", "torch float32", "torch Size") if odd else ("torch FloatStorage",))
        self.text(words=("0", "1", "../data.pkl") if odd else ("0",))
        self.text(words=("cpu",))
        self.number() if odd else self.add(b"K\x04")
        self.add(b"tQ")
        self.number() if odd else self.add(b"K\x00")
        for n in self.rng.choice(((4, 1), (2, 1), (0, 1), (1, 0))):
            self.add(b"(")
            self.number() if odd else self.add(b"K", bytes([n]))
            self.add(b"t")
        self.add(b"\x89N" if self.rng.random() < 0.5 else b"\x89ccollections\nOrderedDict\n)R", b"tR")

    def shared(self, depth: int = 0) -> None:
        """Write one value and do something with it again and again, which takes few bytes each time."""
        self.add(b"(")
        self.rng.choice((self.value, self.large))(depth)
        slot = bytes([255])
        self.add(b"q", slot)
        times = self.rng.choice((2, 50, 3000))
        step = self.rng.choice((b"h\xff", b"h\xffh\xff\x86", b"h\xff\x85", b"2", b"]h\xffa", b"}h\xffNs", b"h\xffQ"))
        if self.rng.random() < 0.7:
            name = self.rng.choice((*BUILDERS, *CLASSES)).replace(" ", "\n").encode()
            take = self.rng.choice((b"h\xfeh\xff\x85R", b"h\xfe)\x81h\xffb", b"h\xfeh\xff\x81", b"h\xfe)h\xff\x92",
                                    b"h\xfe(" + b"h\xff" * 50 + b"tR"))  # fmt: skip
            self.add(b"c", name, b"\nq\xfe")
            step = take
        self.add(step * times, b"l")

    def large(self, depth: int = 0) -> None:
        """Write a list, dict or text of some thousand parts."""
        n, kind = self.rng.choice((1000, 30_000)), self.rng.randrange(5)
        if kind == 0:
            self.add(b"(", b"N" * n, b"l")
        elif kind == 1:
            self.add(b"(", *(b"J" + struct.pack("<i", i) + b"N" for i in range(n)), b"d")
        elif kind == 2:
            self.add(b"(", *(b"J" + struct.pack("<i", i) + b"N\x86" for i in range(n)), b"l")
        elif kind == 3:
            self.add(b"X", struct.pack("<I", n * 10), b"a" * n * 10)
        else:
            self.add(b"(", *(b"J" + struct.pack("<i", i) for i in range(n)), b"t")

    def root(self) -> bytes:
        """Return a pickle of what a weight file holds, or of anything."""
        kind = self.rng.random()
        if kind < 0.35:
            self.add(b"}(")
            for _ in range(self.rng.randrange(1, 6)):
                self.text(words=("a.weight", "b.bias", "module.c", "d"))
                self.tensor()
            self.add(b"u")
        elif kind < 0.7:
            self.dict()
        elif kind < 0.85:
            self.object()
        else:
            self.value()
        self.add(b"." if self.rng.random() < 0.98 else b"")
        return bytes(self.made)


class PickleGrammar:
    """Weight files, in torch's zip and in its older format, with pickles of the grammar."""

    def prepare(self) -> None:
        self.head = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))

    def case(self, rng: random.Random) -> None:
        from ultralytics.nn.checkpoint import load_checkpoint, load_state_dict_file

        data = Writer(rng).root()
        Path("case.pt").write_bytes(self.old(data) if rng.random() < 0.15 else self.zipped(rng, data))
        refused: list[UserError] = []
        for read in (load_checkpoint, load_state_dict_file):
            try:
                read("case.pt")
            except UserError as e:
                refused.append(e)
        if len(refused) == 2:
            raise refused[0]

    def old(self, data: bytes) -> bytes:
        return self.head + data + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)

    @staticmethod
    def zipped(rng: random.Random, data: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", data)
            archive.writestr("a/data/0", bytes(16))
            if rng.random() < 0.5:
                archive.writestr("a/data/1", bytes(4))
        return made.getvalue()


TARGETS: dict[str, Callable] = {"pickle_grammar": PickleGrammar}
CASES = {"pickle_grammar": 10_000}
