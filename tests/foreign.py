"""Weight files as ultralytics 8.x writes them, made here: pickles of classes whose names are all that matters."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import torch
from torch import nn


class AnyNamePickler(pickle._Pickler):
    """A pickler that writes the name of a class without looking whether it can be imported."""

    def save_global(self, obj, name=None):
        self.write(f"c{obj.__module__}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, type: lambda self, obj: self.save_global(obj)}


def foreign(name: str, base: type = nn.Module, **attributes) -> object:
    """An object of a class that has a name of ultralytics 8.x, whatever this package calls so."""
    module, _, qualname = name.rpartition(".")
    made = type(qualname, (base,), {"__module__": module, "__qualname__": qualname})()
    for k, v in attributes.items():
        setattr(made, k, v)
    return made


def foreign_model(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(1)
    conv = foreign("ultralytics.nn.modules.conv.Conv", conv=nn.Conv2d(3, 4, 3, bias=False), bn=nn.BatchNorm2d(4))
    conv.act = nn.SiLU(inplace=True)
    nn.init.constant_(conv.bn.weight, scale)
    head = foreign("ultralytics.nn.modules.head.Detect", nc=2, reg_max=16, cv2=nn.ModuleList([nn.Conv2d(4, 2, 1)]))
    head.register_buffer("anchors", torch.zeros(3), persistent=False)
    head.stride = torch.tensor([8.0, 16.0, 32.0])
    args = foreign(
        "ultralytics.utils.IterableSimpleNamespace", SimpleNamespace, box=7.5, save_dir=PurePosixPath("runs")
    )
    return foreign(
        "ultralytics.nn.tasks.DetectionModel",
        yaml={"nc": 2, "scale": "n", "backbone": [[-1, 1, "Conv", [64, 3, 2]]], "head": []},
        names={0: "fire", 1: "smoke"},
        args=args,
        stride=head.stride,
        model=nn.Sequential(conv, head),
    )


def save_foreign(path: Path, obj: object, **kwargs) -> Path:
    pickler = SimpleNamespace(__name__="any name", Pickler=AnyNamePickler, dumps=pickle.dumps, dump=pickle.dump)
    torch.save(obj, path, pickle_module=pickler, **kwargs)
    return path


def zipped(path: Path, data: bytes, **entries: bytes) -> Path:
    """Write a pickle into a file of torch's zip format."""
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", data)
        for name, value in entries.items():
            z.writestr(f"archive/{name}", value)
    return path
