"""Fuzz target: TorchScript files made by hand from source text, lists of operators, member names and opcodes.

What they ask for writes, where it gets through, the file `mark` in the working folder, which no audit hook of Python
would see; so each case looks for it.
"""

from __future__ import annotations

import json
import os
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from fuzz_guard import Forbidden
from fuzz_mutations import mutated_bytes, mutated_text

METADATA = json.dumps({"task": None, "names": {}, "stride": 32, "imgsz": [32, 32], "batch": 1, "channels": 3})
HARMLESS = (  # values that a model computes, of tensors a and b
    "torch.add(a, b)", "torch.mul(a, 2)", "torch.silu(a)", "torch.sigmoid(b)", "torch.cat([a, b], 1)",
    "torch.relu_(a)", "torch.slice(a, 2, 0, 9223372036854775807)",
    "torch.max_pool2d(a, [5, 5], [1, 1], [2, 2], [1, 1])", "self.w", "torch.mul(a, CONSTANTS.c0)", "torch.to(a, 6)",
    "torch.transpose(a, 1, 2)", "torch.softmax(a, 1)", "a", "b", "x", "torch.split_with_sizes(a, [1, 2], 1)[0]",
    "annotate(Tensor, a)", "unchecked_cast(Tensor, b)", "_f(a, )",
    "torch.select(a, 1, int(ops.prim.NumToTensor(torch.size(a, 1))))", "(self).forward1(a, )", "torch.clone(a)",
    'torch.zeros([2, 2], dtype=6, layout=None, device=torch.device("cpu"), pin_memory=False)', "torch.mean(a)",
    'torch.einsum("bchw,bchw->bc", [a, b], path=None)', "ops.torchvision.nms(a, b, 0.5)", 'getattr(self, "w")',
    "torch.upsample_nearest2d(a, [4, 4], None)", "torch.select(torch.unbind(a)[0], 0, 0)", "torch.neg(a)", "-1",
    "nan",
)  # fmt: skip
WANTED = (  # what writes or reads files, connects, prints, or leads there; the first five write `mark`
    'torch.save(a, "mark")', 'getattr(torch, "save")(a, "mark")', 'a.save("mark")', 'ops.aten.save(a, "mark")',
    'getattr(ops, "aten").save(a, "mark")', 'getattr(self, "save")("mark")',
    'getattr(getattr(ops, "aten"), "save")(a, "mark")', 'ops.image.write_file("mark", a)',
    'getattr(ops, "image").write_file("mark", a)', 'torch.from_file("mark", True, 9)',
    'getattr(torch, "from_file")("mark", True, 9)', 'torch . save(a, "mark")', '(torch).save(a, "mark")',
    'torch.save.forward(a, "mark")', '(getattr(a, "save")).forward("mark")', 'annotate(torch.save, a)("mark")',
    'torch.autograd.save(a, "mark")', '__torch__.torch.classes.dist_c10d.FileStore("mark", 1)', "print(a)",
    'fork(torch.save, a, "mark")', 'ops.debugprims.load_tensor("mark", [1], [1])', 'ops.aoti_torch.run("mark")', "_s",
    '_s("mark")', "torch.save", "torch", "ops", "ops.aten", "self.forward", "a.save", "eval", "exec", "a.__class__",
    '[torch.save][0](a, "mark")', '{"a": torch.save}["a"](a, "mark")', '(lambda: torch.save(a, "mark"))()', "a.data",
    '(torch.save if True else torch.add)(a, "mark")', 'torch.add(a, *[b])', "torch.add(**a)", "[c for c in a]",
    'f"{torch.save}"', "a := torch.save", "await a", "(yield)", "a if a else b", "a + b", "a and b", "not a", "a < b",
    "torch.classes", 'torch.ops.aten.save(a, "mark")', "torch.jit._fork(a)", 'hasattr(torch, "save")', "torch.loads",
    'torch.save(a, "\x6dark")', 'torch.\\\n save(a, "mark")', 'torch.\x0csave(a, "mark")', 'torch.ｓａｖｅ(a, "mark")',
    'torch.save  (a, """mark""")', "torch.save(a, 'mark')", 'torch.save(a, "ma" "rk")', "torch.sa‌ve(a)",
    "torch.warn(a)", "torch.add # x\n(a, b)", "# type: (Tensor) -> Tensor\n", 'getattr(self, "__getstate__")()',
    "int(a.save)", "_f.save",
)  # fmt: skip
STATEMENTS = (
    "{n} = {v}", "{n} = {v}", "{n} = {v}", "{n}, {n}2, = ({v}, {v}, )",
    "if {v}:\n      {n} = {v}\n    else:\n      pass", "for i in range(2):\n      {n} = {v}", "{v}",
    "{n} : Tensor = {v}", "_s = {v}", "torch = {v}", "int = {v}", "a = {v}", "while {v}:\n      pass",
    "with {v}:\n      pass", "import {n}", "from {n} import *", "del {n}", "assert {v}", "raise {v}", "{n} += {v}",
    "self.w = {v}", "a[0] = {v}", "global {n}", "return {v}", "def f():\n      {v}", "class {n}:\n      pass",
    "try:\n      {v}\n    except:\n      pass", "{n} = {v}; {v}", "getattr = {v}", "_f = {v}",
    "for torch in range(2):\n      {v}", "match {v}:\n      case _:\n        pass", "for i in {v}:\n      pass",
    "{n}[0], {n}.x = {v}", "_s : {n} = {v}", "pass",
)  # fmt: skip
TYPES = (
    "Tensor", "List[Tensor]", "Optional[bool]", "__torch__.M", "__torch__.N", "__torch__.torch.classes.image.X",
    "Tuple[Tensor, int]", "torch.save", "Module", "Dict[str, Tensor]", "Any", "Future[Tensor]", "number",
)  # fmt: skip
MEMBERS = (
    "code/__torch__.PY", "CODE/__torch__.py", "Code/__torch__.py", "code//__torch__.py", "code/./__torch__.py", "x",
    "code/__torch__.py/", "code/__torch__.py\0", "code\\__torch__.py", "code/__torch__.py ", "model.json", "extra/x",
    "code/__torch__/torch/classes.py", "code/torch.py", "data.pkl ", "DATA.PKL", "data/00", "data/-1", "data/0.", "",
    "constants/0", "data/1", "attributes.pkl", "attributes.json", "tensors/0", "bytecode.pkl", "version ", "VERSION",
    ".data/version", "byteorder", "extra/config.txt", "extra/metadata.json", "code/__torch__.py.debug_pkl",
    "../data.pkl", "traced_inputs.pkl", "code/__torch__/__torch__.py", "code/__torch__/M.py", ".format_version",
    "/data.pkl",
)  # fmt: skip
GLOBALS = (
    "__torch__ M", "__torch__ N", "__torch__.torch.classes.dist_c10d FileStore", "torch._utils _rebuild_tensor_v2",
    "torch.jit._pickle build_intlist", "torch.jit._pickle restore_type_tag", "collections OrderedDict",
    "posix system", "torch FloatStorage", "torch DoubleStorage", "torch device",
    "torch.jit._pickle build_tensor_from_id",
)  # fmt: skip


class TorchScript:
    """Zips with source of a grammar, in which some things are on the lists and some are not."""

    def prepare(self) -> None:
        warnings.simplefilter("ignore")

    def case(self, rng: random.Random) -> None:
        from ultralytics.nn.formats.facts import checked_runner
        from ultralytics.nn.formats.torchscript import Runner

        file = self.write(rng)
        try:
            checked_runner(Runner(file), file)
        finally:
            if os.path.lexists("mark"):
                os.unlink("mark")
                raise Forbidden("wrote a file from TorchScript")

    def write(self, rng: random.Random) -> str:
        """Write a case and return its name."""
        members = [
            ("version", b"3\n"), ("byteorder", b"little"), ("extra/metadata.json", METADATA.encode()),
            ("data/0", bytes(12)), ("code/__torch__.py", source(rng)), ("constants.pkl", constants()),
            ("constants/0", struct.pack("<f", 2.0)), ("data.pkl", module(rng)),
        ]  # fmt: skip
        if rng.random() < 0.15:
            i = rng.randrange(len(members))
            members[i:i] = [(rng.choice((*MEMBERS, members[i][0])), rng.choice((b"", b"x", *(m[1] for m in members))))]
        if rng.random() < 0.05:
            i = rng.randrange(len(members))
            members[i] = (rng.choice(MEMBERS), members[i][1])
        if rng.random() < 0.05:
            i = rng.randrange(len(members))
            members[i] = (members[i][0], mutated_bytes(rng, members[i][1], [b"x" * 300], 300))
        if rng.random() < 0.02:
            del members[rng.randrange(len(members))]
        top = rng.choice(("m/",) * 30 + ("", "/", "../", "M/m/", "code/"))
        with warnings.catch_warnings():  # of a name that stands twice
            warnings.simplefilter("ignore")
            with zipfile.ZipFile("case.torchscript", "w") as archive:
                for name, content in members:
                    info = zipfile.ZipInfo("x")
                    info.filename = (top if rng.random() < 0.998 else "n/") + name
                    archive.writestr(info, content)
        if rng.random() < 0.03:
            data = Path("case.torchscript").read_bytes()
            Path("case.torchscript").write_bytes(mutated_bytes(rng, data, [data], len(data)))
        return "case.torchscript"


def source(rng: random.Random) -> bytes:
    """Return the source of a module M, in most cases with something in it that is not on the lists."""
    share = rng.choice((0, 0, 0, 0, 0.1, 0.3))  # of what is not
    alone = rng.choice((*WANTED[:5], *WANTED)) if not share and rng.random() < 0.4 else ""

    def value() -> str:
        made = rng.choice(WANTED if rng.random() < share else HARMLESS)
        if rng.random() < 0.3:
            made = made.replace("a", f"({value()})", 1) if made in {"a", "torch.neg(a)"} else f"torch.add({made}, 1)"
        return made

    def statement(i: int) -> str:
        form = rng.choice(STATEMENTS if rng.random() < share else STATEMENTS[:7])
        return "    " + form.format(n=f"_{i}", v=value()) + "\n"

    lines = "".join(statement(i) for i in range(rng.randrange(6)))
    lines += f"    _9 = {alone}\n" if alone else ""
    odd = rng.choice(TYPES) if rng.random() < 0.1 else "Tensor"
    base = (
        rng.choice(("NamedTuple", "Enum", "Interface", "object", "M", "Module, M")) if rng.random() < 0.03 else "Module"
    )
    method = (
        rng.choice(("__setstate__", "save", "__init__", "forward", "__getstate__"))
        if rng.random() < 0.05
        else "forward1"
    )
    text = (
        "def f(a: Tensor) -> Tensor:\n  return torch.add(a, 1)\n"
        f'class M({base}):\n  __parameters__ = ["w", ]\n  __buffers__ = []\n  w : {odd}\n  training : bool\n'
        "  _is_full_backward_hook : Optional[bool]\n"
        f"  def forward(self: __torch__.M,\n    x: {odd}) -> Tensor:\n    _f = __torch__.f\n    a = torch.clone(x)\n"
        f"    b = torch.relu(x)\n{lines}    return torch.add(x, {rng.choice(('1', 'a', 'b', '_0'))})\n"
        f"  def {method}(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    return torch.neg(x)\n"
    )
    if rng.random() < 0.1:
        text = mutated_text(rng, text, [text, *WANTED], WANTED)
    return text.encode("utf-8", "surrogatepass")


def tensor(rng: random.Random, share: float) -> bytes:
    """Return opcodes of a tensor of storage '0', with a share of odd sizes."""

    def odd(n: int) -> bytes:
        n = rng.choice((0, 1, 4, 255, 2**31 - 1, -1)) if rng.random() < share else n
        return b"K" + bytes([n]) if 0 <= n < 256 else b"J" + struct.pack("<i", n)

    kind = rng.choice(GLOBALS) if rng.random() < share else "torch FloatStorage"
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagec" + kind.replace(" ", "\n").encode()
            + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + odd(3) + b"tQ" + odd(0) + b"(" + odd(3) + b"t(" + odd(1)
            + b"t\x89ccollections\nOrderedDict\n)RtR")  # fmt: skip


def module(rng: random.Random) -> bytes:
    """Return a pickle of the module M, in some cases with other opcodes and names."""
    share = 0.1 if rng.random() < 0.2 else 0.0
    name = rng.choice(GLOBALS) if rng.random() < share else "__torch__ M"
    made = (b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n)\x81}(X\x01\x00\x00\x00w" + tensor(rng, share)
            + b"X\x08\x00\x00\x00training\x89X\x16\x00\x00\x00_is_full_backward_hookNub.")  # fmt: skip
    if rng.random() < share:
        i = rng.randrange(len(made))
        name = b"c" + rng.choice(GLOBALS).replace(" ", "\n").encode() + b"\n"
        extra = (b"q\x00", b"r\xff\xff\xff\xff", b"h\x07", name, b"X\xff\xff\xff\x7f", b"]", b"(K\x01K\x02l",
                 b"X\x01\x00\x00\x00\xff", b"R", b"b", b"\x81", b"Q")  # fmt: skip
        made = made[:i] + rng.choice(extra) + made[i:]
    return made


def constants() -> bytes:
    """Return a pickle with one constant, a tensor of one number."""
    return (b"\x80\x02(ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
            b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00(t(t\x89ccollections\nOrderedDict\n)RtRt.")  # fmt: skip


TARGETS: dict[str, Callable] = {"torchscript": TorchScript}
CASES = {"torchscript": 10_000}
