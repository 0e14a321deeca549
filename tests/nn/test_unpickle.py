"""Weight files that would run code: refused by the name of what they ask for, or read as data that does nothing."""

from __future__ import annotations

import collections
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
from foreign import foreign_model, save_foreign, zipped

from ultralytics.nn import inert, unpickle
from ultralytics.nn.checkpoint import load_checkpoint, load_state_dict_file
from ultralytics.utils.errors import CheckpointError


def call(module: str, name: str, *args: str) -> bytes:
    """A pickle that calls `module.name(*args)`."""
    words = b"".join(b"X" + struct.pack("<I", len(a.encode())) + a.encode() for a in args)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + words + b"tR."


def stack_global(module: str, name: str) -> bytes:
    """A pickle of protocol 4 that names `module.name`, where the name may have dots."""
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name)) + b"\x93."


REFUSED = {
    "os.system": call("os", "system", "touch {mark}"),
    "posix.system": call("posix", "system", "touch {mark}"),
    "subprocess.Popen": call("subprocess", "Popen", "touch {mark}"),
    "builtins.eval": call("builtins", "eval", "open('{mark}', 'w')"),
    "builtins.exec": call("__builtin__", "exec", "open('{mark}', 'w')"),
    "builtins.open": call("builtins", "open", "{mark}", "w"),
    "builtins.getattr": call("builtins", "getattr", "a", "upper"),
    "builtins.__import__": call("builtins", "__import__", "os"),
    "torch.load": call("torch", "load", "{mark}"),
    "torch.serialization.load": call("torch.serialization", "load", "{mark}"),
    "torch.hub.load": call("torch.hub", "load", "a/b", "c"),
    "torch.utils.data.os": call("torch.utils.data", "os"),
    "torch._utils.__builtins__": call("torch._utils", "__builtins__"),
    "torch.nn.modules.module.__builtins__": call("torch.nn.modules.module", "__builtins__"),
    "torch.nn.modules.module.sys.modules": stack_global("torch.nn.modules.module", "sys.modules"),
    "ultralytics.utils.__builtins__": call("ultralytics.utils", "__builtins__"),
    "ultralytics.utils.os.system": stack_global("ultralytics.utils", "os.system"),
    "ultralytics.__class__.x": call("ultralytics.__class__", "x"),
    "ultralytics_evil.Conv": call("ultralytics_evil", "Conv"),
    "torch.nnx.Conv": call("torch.nnx", "Conv"),
    "models.yolo.Model": call("models.yolo", "Model"),
    "__main__.Net": call("__main__", "Net"),
    "functools.partial": call("functools", "partial", "a"),
    "operator.attrgetter": call("operator", "attrgetter", "system"),
    "pickle.loads": call("pickle", "loads", "a"),
    "numpy.load": call("numpy", "load", "{mark}"),
    "collections.OrderedDict.fromkeys": stack_global("collections", "OrderedDict.fromkeys"),
    "nt.system": b"\x80\x02(X\x01\x00\x00\x00aint\nsystem\n.",  # INST
    "os.popen": b"\x80\x02(cos\npopen\nX\x01\x00\x00\x00ao.",  # OBJ
}


@pytest.mark.parametrize("wanted", REFUSED)
@pytest.mark.parametrize("container", ["zip", "bare"])
def test_names_that_a_weight_file_may_not_ask_for(tmp_path, monkeypatch, wanted, container):
    monkeypatch.chdir(tmp_path)
    mark, path = tmp_path / "mark", tmp_path / "evil.pt"
    data = REFUSED[wanted]
    if b"{mark}" in data:  # the length before the text changes with it
        module, name = data.split(b"\n")[0].split(b"c", 1)[1].decode(), data.split(b"\n")[1].decode()
        data = call(
            module, name, {"open": f"{mark}"}.get(name, f"touch {mark}" if name != "eval" else f"open('{mark}', 'w')")
        )
    zipped(path, data) if container == "zip" else path.write_bytes(data)
    for read in (load_checkpoint, load_state_dict_file):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert f"evil.pt' asks for {wanted}," in str(caught.value)
        assert "a source that you trust" in str(caught.value)
    assert not mark.exists()


def test_the_attacks_here_are_real(tmp_path):
    """The pickles above do what they say where nothing guards against them."""
    mark = tmp_path / "mark"
    pickle.loads(call("builtins", "open", str(mark), "w")).close()
    assert mark.exists()


def test_attack_after_valid_content_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    path = save_foreign(tmp_path / "a.pt", {"model": foreign_model(), "z": 0})
    with zipfile.ZipFile(path) as z:
        files = {n: z.read(n) for n in z.namelist()}
    entry = next(n for n in files if n.endswith("data.pkl"))
    files[entry] = files[entry][:-1] + b"0" + pickle.dumps(Evil(), 2)[2:]
    with zipfile.ZipFile(path, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
    with pytest.raises(CheckpointError, match=rf"asks for {os.system.__module__}\.system"):
        load_checkpoint(path)
    assert not (tmp_path / "mark").exists()


def test_module_names_give_records_that_do_nothing(tmp_path, monkeypatch):
    """A function of this very package that a file calls is not called: its name gives an inert record."""
    import ultralytics.utils

    monkeypatch.setattr(ultralytics.utils, "yaml_save", lambda *_: pytest.fail("called"))
    with unpickle.Archive(zipped(tmp_path / "a.pt", call("ultralytics.utils", "yaml_save", "x.yaml"))) as archive:
        assert isinstance(archive.tree, inert.Record)
        assert archive.tree.path == "ultralytics.utils.yaml_save"
        assert not callable(archive.tree)
    with unpickle.Archive(zipped(tmp_path / "b.pt", b"\x80\x02ctorch.nn.modules.module\nsys\n.")) as archive:
        assert archive.tree is not sys
        assert issubclass(archive.tree, inert.Record)


def build_with(target: bytes, state: bytes) -> bytes:
    return b"\x80\x02" + target + state + b"b."


SET_ATTRIBUTE = b"N}X\x01\x00\x00\x00xK\x01s\x86"  # (None, {"x": 1}): BUILD calls setattr(target, "x", 1)
SET_DICT = b"}X\x01\x00\x00\x00xK\x01s"  # {"x": 1}: BUILD updates target.__dict__


@pytest.mark.parametrize("state", [SET_ATTRIBUTE, SET_DICT])
@pytest.mark.parametrize(
    "target",
    [
        b"cultralytics.nn.tasks\nDetectionModel\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"cnumpy\ndtype\n",
        b"cbuiltins\nset\n",
        b"ctorch\nfloat32\n",
    ],
)
def test_nothing_that_a_name_gives_can_be_changed(tmp_path, target, state):
    with pytest.raises(CheckpointError, match="is damaged"):
        unpickle.Archive(zipped(tmp_path / "a.pt", build_with(target, state)))
    for kind in (inert.Record, inert._Dtype, collections.OrderedDict, set):
        assert not hasattr(kind, "x")


def test_state_of_a_record_is_data_only(tmp_path):
    """`__class__` and `__setstate__` in a state are entries of a dict, never attributes."""
    evil = b"}(X\x09\x00\x00\x00__class__cultralytics.a\nB\nX\x0c\x00\x00\x00__setstate__cultralytics.a\nB\nu"
    data = build_with(b"cultralytics.nn.tasks\nA\n)\x81", evil)
    with unpickle.Archive(zipped(tmp_path / "a.pt", data)) as archive:
        assert archive.tree.path == "ultralytics.nn.tasks.A"
        assert set(archive.tree.state) == {"__class__", "__setstate__"}


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(np.array([{"a": 1}], dtype=object), 2),
        pickle.dumps(np.zeros(2, dtype=[("a", "f4")]), 2),
        call("numpy", "dtype", "O"),
        call("_codecs", "encode", "abc", "rot13"),
        call("_codecs", "encode", "abc", "zip"),
        b"\x80\x02}X\x01\x00\x00\x00aQ.",  # a reference that is no storage
        b"\x80\x02\x82\x01.",  # a code of the extension registry
        b"\x80\x05\x97.",  # a buffer from outside
    ],
    ids=["object array", "structured array", "object dtype", "rot13", "zip", "reference", "extension", "buffer"],
)
def test_other_doors_are_closed(tmp_path, data):
    with pytest.raises(CheckpointError):
        unpickle.Archive(zipped(tmp_path / "a.pt", data))


def test_content_that_contains_itself_or_is_nested_without_end(tmp_path):
    loop = foreign_model()
    loop.model._modules["again"] = loop.model
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(save_foreign(tmp_path / "loop.pt", {"model": loop}))
    deep = b"\x80\x02" + b"(" * 5000 + b"t" * 5000 + b"."
    with pytest.raises(CheckpointError):
        load_checkpoint(zipped(tmp_path / "deep.pt", deep))
