"""TorchScript that would write files, or that PyTorch would read otherwise than it looks: refused by name."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from ultralytics import YOLO
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.formats import scripts
from ultralytics.nn.formats.script_source import Refused, checked_sources
from ultralytics.nn.formats.torchscript import Runner
from ultralytics.utils.errors import ModelError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
METADATA = json.dumps({"task": "detect", "names": ["a"], "stride": 32, "imgsz": [64, 64], "batch": 1, "channels": 3})
HEAD = (
    'class M(Module):\n  __parameters__ = ["w", ]\n  __buffers__ = []\n  w : Tensor\n  training : bool\n'
    "  _is_full_backward_hook : Optional[bool]\n"
)
FORWARD = "  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n"
GOOD = "    return torch.add(x, 1)\n"


@pytest.fixture(autouse=True)
def nothing_runs(work_dir, monkeypatch):
    """The file that the files here would write is never written, and no file is trusted that a test does not trust."""
    monkeypatch.setattr(scripts, "TRUSTED", set())
    yield
    assert not Path("mark").exists()


def members() -> dict[str, bytes]:
    """The members of a small file that is fine."""
    return {
        "version": b"3\n", "byteorder": b"little", "extra/metadata.json": METADATA.encode(), "data/0": bytes(12),
        "code/__torch__.py": source().encode(), "constants.pkl": b"\x80\x02).", "data.pkl": module(tensor()),
    }  # fmt: skip


def written(found: dict[str, bytes] | list[tuple[str, bytes]], top: str = "m/") -> str:
    with zipfile.ZipFile("case.torchscript", "w") as z:
        for name, content in found.items() if isinstance(found, dict) else found:
            z.writestr(top + name, content)
    return "case.torchscript"


def source(body: str = GOOD, more: str = "") -> str:
    return HEAD + FORWARD + body + more


def test_what_is_fine_is_opened():
    file = written(members())
    assert Runner(file)(torch.ones(1, 3))[0].tolist() == [[2.0] * 3]
    config = {k.replace("metadata.json", "config.txt"): v for k, v in members().items()}
    assert Runner(written(config)).metadata["imgsz"] == [64, 64]  # where ultralytics 8.x keeps it


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('    _0 = torch.save(x, "mark")\n', "'torch.save'"),
        ('    _0 = getattr(torch, "save")(x, "mark")\n', "getattr"),
        ('    _0 = (getattr(torch, "save")).forward(x, "mark")\n', "'torch'"),
        ('    _0 = getattr(x, "save")("mark")\n', "getattr"),
        ('    _0 = x.save("mark")\n', "'x.save'"),
        ('    s = x.save\n    _0 = s("mark")\n', "'s'"),
        ('    int = x.save\n    _0 = int("mark")\n', "the name 'int'"),
        ('    t = torch\n    _0 = t.save(x, "mark")\n', "'torch'"),
        ('    s = torch.save\n    _0 = s(x, "mark")\n', "'torch.save'"),
        ('    (torch, ) = (x, )\n', "the name 'torch'"),
        ('    _0 = [torch][0].save(x, "mark")\n', "save"),
        ('    _0 = (torch).save(x, "mark")\n', "'torch.save'"),
        ('    _0 = torch.\\\n save(x, "mark")\n', "'torch.save'"),
        ('    _0 = torch.\x0csave(x, "mark")\n', "characters"),
        ('    _0 = torch.ｓａｖｅ(x, "mark")\n', "characters"),
        ('    # type: x\n    _0 = torch . save(x, "mark")\n', "'torch.save'"),
        ('    _0 = ops.aten.save(x, "mark")\n', "'ops.aten.save'"),
        ('    _0 = getattr(ops, "image").write_file("mark", x)\n', "write_file"),
        ('    _0 = ops.image.write_file("mark", x)\n', "'ops.image.write_file'"),
        ('    _0 = torch.from_file("/etc/passwd", False, 9)\n', "'torch.from_file'"),
        ('    _0 = torch.autograd.save(x, "mark")\n', "'torch.autograd.save'"),
        ("    fork(self.forward, x)\n", "'fork'"),
        ("    print(x)\n", "'print'"),
        ('    _0 = eval("1")\n', "'eval'"),
        ("    while True:\n      pass\n", "While"),
        ("    _0 = [i for i in x]\n", "ListComp"),
        ("    _0 = lambda: x\n", "Lambda"),
        ("    import os\n", "Import"),
        ("    _0 = x.__class__\n", "the name '__class__'"),
        ("    _0 = annotate(__torch__.torch.classes.dist_c10d.Store, x)\n", "the type '__torch__.torch.classes"),
        ("    for i in torch.save:\n      pass\n", "For"),
        ("    _0 = torch.add(x, **x)\n", "Call"),
        ("    _0 = torch.add(*x)\n", "Starred"),
        ("    _0 = __torch__.M.forward(self, x)\n", "'__torch__.M'"),
        ('    _0 = f"{x}"\n', "JoinedStr"),
        ("    x[0] = x\n", "Subscript"),
        ("    self.w = x\n", "Attribute"),
        ("    with x:\n      pass\n", "With"),
    ],
)  # fmt: skip
def test_source_is_allowed_by_lists(body, words):
    with pytest.raises(Refused) as caught:
        checked_sources({"__torch__": source(body + GOOD)})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        source(more="  def __setstate__(self: __torch__.M, s: Tensor) -> NoneType:\n    return None\n"),
        source(more="  def save(self: __torch__.M, x: Tensor) -> Tensor:\n    return x\n"),
        source().replace("(Module)", "(NamedTuple)"),
        source().replace("  w : Tensor", "  w : __torch__.torch.classes.image.X"),
        source().replace("x: Tensor)", "x: Tensor=torch.save)"),
        source().replace("  def forward", "  @torch.save\n  def forward"),
        "import os\n" + source(),
        "op_version_set = 1\n" + source(),
        "def f(x: Tensor) -> Tensor:\n  f = x.save\n  return f(x)\n" + source(),
        "def f(x: Tensor) -> Tensor:\n  return x\n" + source("    a = __torch__.f\n    a = x.save\n    return a(x)\n"),
        "class A(Module):\n  pass\nclass A(Module, metaclass=B):\n  pass\n",
    ],
)
def test_other_source_is_refused(text):
    with pytest.raises(Refused):
        checked_sources({"__torch__": text})


def test_functions_of_the_file_itself_may_be_called():
    text = "def f(x: Tensor) -> Tensor:\n  return torch.add(x, 2)\n"
    body = "    _0 = __torch__.f\n    a, b, = (x, x)\n    return torch.add(_0(a, ), b)\n"
    file = written(members() | {"code/__torch__.py": (text + source(body)).encode()})
    assert Runner(file)(torch.ones(1))[0].tolist() == [4.0]


@pytest.mark.parametrize(
    "name",
    ["code/__torch__.PY", "CODE/__torch__.py", "code/__torch__.py.py", "model.json", "code/../x.py", "x.py", "extra/x",
     "data/../data.pkl", "data/0/", "Data.pkl", "code/torch.py", "", "constants.pkl/", "code/__torch__/a.b.py"],
)  # fmt: skip
def test_members_are_allowed_by_lists(name):
    with pytest.raises(ModelError, match=r"asks for a member '|can be read"):
        Runner(written(members() | {name: b"x"}))


def test_a_member_in_another_folder_and_a_name_that_stands_twice():
    good = [(f"m/{name}", content) for name, content in members().items()]
    for more in (("n/data.pkl", b"x"), ("data.pkl", b"x"), ("M/data.pkl", b"x"), ("m/data.pkl", b"x")):
        with pytest.warns() if more[0] == "m/data.pkl" else pytest.raises(ModelError):
            file = written([*good, more], "")
            Runner(file) if more[0] != "m/data.pkl" else None
        with pytest.raises(ModelError):
            Runner(file)


class Evil:
    def __reduce__(self):
        return os.system, ("echo x > mark",)


PID = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK%ctQ"


def tensor(numel: int = 3, size: int = 3, stride: int = 1) -> bytes:
    """Opcodes of a tensor of storage '0', which has three numbers."""
    pid = PID % numel
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + b"K\x00(K%ct(K%ct\x89ccollections\nOrderedDict\n)RtR"
            % (size, stride))  # fmt: skip


def module(state: bytes) -> bytes:
    """A pickle of the module, with the opcodes of the value of `w`."""
    return (b"\x80\x02c__torch__\nM\n)\x81}(X\x01\x00\x00\x00w" + state + b"X\x08\x00\x00\x00training\x89"
            b"X\x16\x00\x00\x00_is_full_backward_hookNub.")  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps(Evil(), 2), f"asks for {os.system.__module__}.system, which exported models"),
        (pickle.dumps(Evil(), 4), "asks for the opcode"),
        (module(tensor(size=100)), "beyond the end of its storage"),
        (module(tensor(stride=100)), "beyond the end of its storage"),
        (module(tensor(numel=100, size=100)), "another size than its bytes"),
        (module(b"(" + tensor() + tensor(numel=100, size=100) + b"t"), "in two ways"),
        (module(tensor().replace(b"FloatStorage", b"ByteStorage")), "another size than its bytes"),
        (module(b"c__torch__.torch.classes.dist_c10d\nStore\n"), "asks for __torch__.torch.classes.dist_c10d.Store"),
        (module(b"X\x01\x00\x00\x00\xff"), "can be read"),
        (module(b"Nr" + struct.pack("<I", 2**32 - 1)), "the memory 4294967295"),
        (module(tensor()) + b"N.", "more than one thing"),
        (b"\x80\x02N.", "a NoneType"),
    ],
    ids=range(12),
)
def test_pickles_of_torchscript(data, words):
    good = members()
    assert Runner(written(good))
    with pytest.raises(ModelError, match=words):
        Runner(written(good | {"data.pkl": data}))


class Writes(torch.nn.Module):
    """TorchScript that writes a file, when it is run and even when it is loaded."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))

    @torch.jit.export
    def __getstate__(self):
        return self.w, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.w, self.training = state[0], state[1]
        torch.save(state[0], "mark")

    def forward(self, x):
        return x.flatten(1)[:, :50].view(1, 5, 10)


def test_who_trusts_a_file_can_open_it(monkeypatch):
    torch.jit.script(Writes()).save("evil.torchscript", _extra_files={"metadata.json": METADATA})
    for read in (YOLO, AutoBackend):
        with pytest.raises(
            ModelError, match=r"'evil\.torchscript' asks for .*Nothing in it was run.*trust_modules=True"
        ):
            read("evil.torchscript")
    assert not Path("mark").exists()
    YOLO("evil.torchscript", trust_modules=True)
    assert Path("mark").exists()  # the attack is real
    Path("mark").unlink()


class Odd(torch.nn.Module):
    """A module of one's own that asks for an operator that is on no list."""

    outputs = ("y",)

    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_an_export_of_ones_own_says_that_it_will_need_trust(caplog):
    from ultralytics.nn.formats import torchscript
    from ultralytics.nn.formats.job import Job

    torchscript.write(Job(Odd(), torch.zeros(1, 3, 8, 8), Path("odd.torchscript"), json.loads(METADATA)))
    assert "trust_modules=True" in caplog.text and "special_bessel_j0" in caplog.text
    assert Runner("odd.torchscript")
    scripts.TRUSTED.clear()
    with pytest.raises(ModelError, match="special_bessel_j0"):
        Runner("odd.torchscript")
