"""What is fuzzed: each target makes a case of a seed and gives it to the code that reads such files.

A target has `prepare`, which is called once in an empty folder, and `case`, which returns when the file was read and
raises UserError when it was refused; anything else is a fault.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import cv2
import fuzz_mutations as mutate
import numpy as np
import torch
import yaml
from tiny import LAYERS, tiny_model

from ultralytics.utils.errors import MissingFileError, UserError

ROOT = Path(__file__).resolve().parents[2]


def write(file: str, content: str | bytes) -> Path:
    """Write a case; a text may hold what UTF-8 cannot, as files may."""
    path = Path(file)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def cache_of(*rules: object) -> Path:
    """Return where the labels of `make_images("set")` are kept under some rules."""
    from ultralytics.data.labels import cache_path

    return cache_path(Path("set/labels"), "", *rules)


def make_images(folder: str, n: int = 3) -> list[str]:
    """Write small images, and a label file of one box for each."""
    files = []
    for i in range(n):
        image = np.random.default_rng(i).integers(0, 255, (16, 20, 3), dtype=np.uint8)
        file = Path(folder, "images", f"{i}.jpg")
        label = Path(folder, "labels", f"{i}.txt")
        for f in (file, label):
            f.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image)
        label.write_text("0 0.5 0.5 0.25 0.5\n", encoding="utf-8")
        files.append(str(file))
    return files


# YAML -----------------------------------------------------------------------------------------------------------------

DATA = (
    "path: set\ntrain: images\nval: images\nnames:\n  0: fire\n  1: smoke\n",
    "train: set/images\nval: [set/images, set/images]\ntest:\nnc: 2\nnames: [fire, 'smoke']\n",
    "path: .\ntrain: set/images\nval: set/images\nkpt_shape: [3, 2]\nflip_idx: [0, 2, 1]\nnames: {0: man}\n"
    "download: https://example.org/a.zip\n",
    "train: &p set/images\nval: *p\nnc: 3\n",
)
SETTINGS = (
    "task: detect\nmode: train\nepochs: 3\nimgsz: 64\nlr0: 0.01\ndevice: cpu\nfreeze: [0, 1]\ncos_lr: true\n",
    "batch: 4\nimgsz: [64, 96]\nclasses: 0\nname: run\nproject: null\nsource: ../x\noptimizer: AdamW\n",
)
TRACKERS = tuple((ROOT / "ultralytics/cfg/trackers" / f"{n}.yaml").read_text("utf-8") for n in ("bytetrack", "botsort"))
MODELS = (
    LAYERS,
    "nc: 2\nscales:\n  n: [0.50, 0.25, 64]\nactivation: nn.LeakyReLU(0.1)\nbackbone:\n  - [-1, 1, Conv, [32, 3, 2]]\n"
    "  - [-1, 2, C3k2, [32, False, 0.25]]\n  - [-1, 1, SPPF, [32, 5]]\nhead:\n"
    "  - [-1, 1, nn.Upsample, [None, 2, nearest]]\n  - [[-1, 0], 1, Concat, [1]]\n  - [[4], 1, Detect, [nc]]\n",
    "nc: 3\nch: 3\nkpt_shape: [2, 3]\nmodules: []\nbackbone:\n  - [-1, 1, GhostConv, [8, 3, 2]]\n"
    "head:\n  - [-1, 1, Classify, [nc]]\n",
)


class Yaml:
    """Data, settings, trackers and models."""

    texts = (*DATA, *SETTINGS, *TRACKERS, *MODELS)

    def prepare(self) -> None:
        make_images("set")

    def case(self, rng: random.Random) -> None:
        kind = rng.choices((self.data, self.settings, self.tracker, self.model), (45, 30, 10, 15))[0]
        seeds = {"data": DATA, "settings": SETTINGS, "tracker": TRACKERS, "model": MODELS}[kind.__name__]
        text = mutate.mutated_text(rng, rng.choice(seeds), self.texts, mutate.YAML_WORDS)
        kind(str(write("case.yaml", text)))

    def data(self, file: str) -> None:
        from ultralytics.data.utils import check_det_dataset

        found = check_det_dataset(file)
        assert len(found["names"]) == found["nc"] <= 100_000
        assert all(type(k) is int and type(v) is str for k, v in found["names"].items())

    def settings(self, file: str) -> None:
        from ultralytics.cfg import get_cfg
        from ultralytics.cli import parse

        parse([f"cfg={file}"])
        get_cfg(file)

    def tracker(self, file: str) -> None:
        from ultralytics.trackers.settings import read_tracker

        read_tracker(file)

    def model(self, file: str) -> None:
        from ultralytics.cfg.tasks import TASKS, load
        from ultralytics.nn.tasks import guess_model_task, yaml_model_load

        d = yaml_model_load(file)
        load(TASKS[guess_model_task(d)].model)(d, verbose=False)


# Labels ---------------------------------------------------------------------------------------------------------------

BOXES = "0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.1 0.2\n1 0.1 0.2 0.1 0.2\n"
CORNERS = "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n1 0.2 0.2 0.3 0.2 0.3 0.5 0.2 0.5\n"
POINTS = "0 0.5 0.5 0.5 0.5 0.4 0.4 2 0 0 0 0.6 0.6 1\n"


class Labels:
    """Label files of every layout."""

    def prepare(self) -> None:
        from ultralytics.data.labels import layout_of

        self.layouts = [layout_of(t, (3, 3)) for t in ("detect", "segment", "obb", "pose")]

    def case(self, rng: random.Random) -> None:
        from ultralytics.data.labels import Entry, read_objects

        texts = (BOXES, CORNERS, POINTS)
        file = write("case.txt", mutate.mutated_text(rng, rng.choice(texts), texts))
        entry, nc, layout = Entry(""), rng.choice((1, 2, 80)), rng.choice(self.layouts)
        read_objects(entry, file, nc, rng.random() < 0.2, layout)
        check_entry(entry, nc)


def check_entry(entry: Any, nc: int) -> None:
    """Raise AssertionError unless labels are such as a training can use."""
    rows = entry.rows
    assert rows.dtype == np.float32 and rows.shape[1:] == (5,) and np.isfinite(rows).all()
    assert ((rows[:, 0] >= 0) & (rows[:, 0] < nc)).all() and ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()
    for part in (entry.segments, entry.keypoints):
        assert part is None or (len(part) == len(rows) and all(np.isfinite(p).all() for p in part))


# Label cache and image cache ----------------------------------------------------------------------------------------


class Cache:
    """Label caches, those of classification sets, and images kept as `.npy`."""

    def prepare(self) -> None:
        from ultralytics.data import labels

        labels.progress = lambda iterable, total, desc: iterable  # bars would take most of the time
        self.files = make_images("set")
        self.layouts = [labels.layout_of(t, (3, 3)) for t in ("detect", "segment", "obb", "pose")]
        self.seeds = []
        for layout, text in zip(self.layouts, ("0 .5 .5 .2 .2\n", CORNERS, CORNERS, POINTS)):
            for file in labels.img2label_paths(self.files):
                Path(file).write_text(text, encoding="utf-8")
            labels.load_labels(self.files, 2, layout=layout)
            with np.load(cache_of(2, False, layout)) as z:
                self.seeds.append(dict(z))
        self.names = labels.img2label_paths(self.files)

    def case(self, rng: random.Random) -> None:
        from ultralytics.data import labels
        from ultralytics.data.image_cache import ImageCache, _stamp

        i = rng.randrange(4)
        layout = self.layouts[i]
        key = labels.fingerprint(self.files, self.names, 2, False, layout)
        if rng.random() < 0.15:
            array = self._array_file(rng, np.zeros((16, 20, 3), np.uint8))
            write(f"{self.files[0]}.npy", array + struct.pack("<2q", *_stamp(self.files[0])))
            image, shape = ImageCache(self.files[:1], 32, "disk")[0]
            assert image.shape[2:] == (3,) and image.dtype == np.uint8 and len(shape) == 2
            return
        cache = cache_of(2, False, layout)
        write(str(cache), self._cache_file(rng, self.seeds[i] | {"key": np.array(key)}))
        arrays = labels.read_arrays(cache, key)
        if arrays is not None:
            labels.stored_faults(arrays, 3)
        entries = labels.load_labels(self.files, 2, layout=layout)
        assert 0 < len(entries) <= 3
        for entry in entries:
            check_entry(entry, 2)

    def _cache_file(self, rng: random.Random, arrays: dict[str, np.ndarray]) -> bytes:
        made = io.BytesIO()
        for _ in range(1 + rng.randrange(3)):
            name = rng.choice([*arrays])
            if name != "key" or rng.random() < 0.1:
                arrays[name] = self._mutated(rng, arrays[name], arrays)
        np.savez(made, **{k: v for k, v in arrays.items() if rng.random() < 0.99})
        members = mutate.unzipped(made.getvalue())
        name = rng.choice([*members])
        if rng.random() < 0.3:
            members[name] = self._array_file(rng, arrays.get(name[:-4], np.zeros(2)))
        data = mutate.zipped(rng, members)
        return mutate.mutated_bytes(rng, data, [data]) if rng.random() < 0.2 else data

    def _mutated(self, rng: random.Random, a: np.ndarray, others: dict) -> np.ndarray:
        kind = rng.randrange(7)
        if kind == 0:
            return rng.choice([*others.values()])
        if kind == 1 and a.dtype.kind != "U":
            return a.astype(rng.choice(("f2", "f4", "f8", "i1", "u8", "i8", "U9", "?", "c8")), casting="unsafe")
        if kind == 2:
            return a.reshape(-1)[: rng.randrange(a.size + 1)]
        if kind == 3:
            return np.concatenate([a.ravel(), a.ravel()]) if a.size < 1000 else a
        if kind == 4:
            return np.frombuffer(json.dumps(rng.choice(FAULTS)).encode(), np.uint8)
        flat = a.copy()
        if flat.size and flat.dtype.kind in "biuf":
            with np.errstate(all="ignore"), contextlib.suppress(OverflowError, ValueError):
                value = rng.choice((0, 1, -1, 2, 3, 1.5, 1e30, float("nan"), float("inf"), 2**31 - 1, 2**62))
                flat.flat[rng.randrange(flat.size)] = value
        return flat

    def _array_file(self, rng: random.Random, a: np.ndarray) -> bytes:
        made = io.BytesIO()
        np.save(made, np.array([{"a": 1}, None], object) if rng.random() < 0.1 else a)
        data = made.getvalue()
        if rng.random() < 0.5:
            end = data.index(b"\n") + 1
            head = mutate.mutated_text(rng, data[10:end].decode("latin1"), ["(1, 2**40)", "'|O'", "True", "'<M8[s]'"])
            head = head.encode("utf-8", "replace")[:60_000]
            return data[:8] + len(head).to_bytes(2, "little") + head + data[end:]
        return mutate.mutated_bytes(rng, data, [data])


FAULTS: tuple = ({}, {"0": "bad: x"}, {"9": "x"}, {"-1": "x"}, {"a": "x"}, {"0": 1}, {"0": ""}, [], [1], 1, None, "x",
                 {"0": {"1": []}}, {"1e999": "x"}, {"9" * 5000: "x"})  # fmt: skip


# Weight files ---------------------------------------------------------------------------------------------------------


class Checkpoint:
    """Weight files of this package, of ultralytics 8.x and of torch, in its zip and in its older format."""

    def prepare(self) -> None:
        from foreign import foreign_model, save_foreign

        from ultralytics.nn.checkpoint import save_checkpoint
        from ultralytics.nn.tasks import DetectionModel, describe

        torch.manual_seed(0)
        model = DetectionModel(tiny_model(Path(".")), verbose=False)
        model.args = {"imgsz": 64, "data": "data.yaml", "epochs": 2}
        save_checkpoint("own.pt", describe(model))
        save_checkpoint("last.pt", {**describe(model), "epoch": 1, "optimizer": {"state": {0: torch.zeros(3)}}})
        args = {"task": "detect", "imgsz": 64, "odd": np.arange(2)}
        save_foreign(Path("8x.pt"), {"model": foreign_model(), "train_args": args, "epoch": 1})
        save_foreign(Path("old.pt"), {"model": foreign_model()}, _use_new_zipfile_serialization=False)
        torch.save(torch.nn.Linear(2, 2).state_dict(), "bare.pt")
        self.files = [Path(f"{name}.pt").read_bytes() for name in ("own", "last", "8x", "bare", "old")]

    def case(self, rng: random.Random) -> None:
        from ultralytics.nn.checkpoint import load_checkpoint, load_state_dict_file
        from ultralytics.nn.tasks import build_from_checkpoint

        file = write("case.pt", self._content(rng))
        refused = None
        with contextlib.suppress(UserError):
            load_state_dict_file(file)
        try:
            ckpt = load_checkpoint(file)
            if ckpt["source"] == "ghost":
                build_from_checkpoint(ckpt)
        except UserError as e:
            refused = e
        if refused:
            raise refused

    def _content(self, rng: random.Random) -> bytes:
        data = rng.choice(self.files)
        if not zipfile.is_zipfile(io.BytesIO(data)):
            return mutate.mutated_bytes(rng, data, self.files, head=2000)
        if rng.random() < 0.1:
            return mutate.mutated_bytes(rng, data, self.files, head=300)
        members = mutate.unzipped(data)
        entry = next(name for name in members if name.endswith("data.pkl"))
        if rng.random() < 0.9:
            members[entry] = mutate.mutated_pickle(rng, members[entry])
        return mutate.zipped(rng, members)


# Images -------------------------------------------------------------------------------------------------------------


class Images:
    """Images of every kind that Pillow writes, with Pillow's limit of pixels brought down to what is fast."""

    def prepare(self) -> None:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = 1_000_000
        self.seeds: list[bytes] = []
        image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8))
        plain = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("BMP", {}), ("GIF", {}), ("TIFF", {}),
                 ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}), ("WEBP", {}), ("PPM", {}),
                 ("WEBP", {"lossless": True}), ("JPEG2000", {}), ("AVIF", {}), ("MPO", {})]  # fmt: skip
        for form, options in plain:
            self._add(image, form, options)
        for mode in ("1", "L", "LA", "P", "RGBA", "I;16", "I", "CMYK", "F"):
            for form in ("PNG", "TIFF", "JPEG", "PFM"):
                with contextlib.suppress(ValueError, OSError):
                    self._add(image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode), form, {})
        exif = Image.Exif()
        exif[274] = 6
        self._add(image, "JPEG", {"exif": exif})
        self.seeds.append(b"PF\n4 4\n-1.0\n" + bytes(4 * 4 * 12))

    def _add(self, image: Any, form: str, options: dict) -> None:
        made = io.BytesIO()
        with contextlib.suppress(KeyError, OSError, ValueError):  # a Pillow without that format
            image.save(made, form, **options)
            self.seeds.append(made.getvalue())

    def case(self, rng: random.Random) -> None:
        from PIL import Image

        from ultralytics.data.image_files import read_image, verify_image

        data = mutate.mutated_bytes(rng, rng.choice(self.seeds), self.seeds, head=160)
        if data.startswith(b"\x89PNG") and rng.random() < 0.8:
            data = mutate.png_with_right_sums(data)
        file, most = write("case.jpg", data), 2 * Image.MAX_IMAGE_PIXELS
        refused = None
        try:
            h, w = verify_image(file)
            assert h * w <= most
        except UserError as e:
            refused = e
        image = read_image(file)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size <= 3 * most
        if refused:
            raise refused


# Command line ---------------------------------------------------------------------------------------------------------

COMMANDS = (
    "detect train model=tiny.yaml data=set.yaml epochs=1 imgsz=64 batch=2 device=cpu freeze=[0,1] lr0=0.01",
    "train model = yolo11n.yaml data=fire.yaml cos_lr optimizer=SGD name=x pretrained=best.pt teacher=best.pt",
    "segment val model=best.pt data=set.yaml split=test conf=0.1 iou=.5 half=False",
    "detect predict model=best.pt source=set/images classes=[0, 1] save_txt show=False line_width=2 imgsz=[64,96]",
    "track model=best.pt source=0 tracker=bytetrack.yaml vid_stride=3 conf=None",
    "export model=best.pt format=onnx dynamic=true opset=17 int8=False nms",
    "train resume model=best.pt", "train resume=best.pt", "benchmark model=best.pt", "cfg=args.yaml train",
    "help", "help lr0", "help train", "version", "--version", "cfg", "copy-cfg", "settings runs_dir=runs",
    "settings reset", "settings tensorboard=false", "data list", "data check data=set.yaml", "data check set.yaml",
    "data convert coco source=coco.json save_dir=out cls91to80=False", "data convert voc source=set save_dir=out",
    "data download fire", "checks", "profile model=tiny.yaml imgsz=64 rounds=0 layers=true",
    "profile tiny.yaml,yolo11n.yaml nc=2",
    "compare models=tiny.yaml,yolo11n.yaml data=set.yaml epochs=1 seeds=2 device=cpu", "compare results=runs,runs2",
    "explain model=best.pt source=set/images layers=[1,2] method=eigencam", "explain receptive_field model=tiny.yaml",
    "transfer model=best.pt to=tiny.yaml save=out.pt nc=2 count=3",
)  # fmt: skip
_PIECES = ("best.pt", "tiny.yaml", "set.yaml", "set/images", "set", "none.pt", "none.yaml", "best.onnx", "x.engine",
           "http://example.org/a.pt", "rtsp://x/y", "yolo11n-GhostConv.yaml", "cpu", "cuda:99", "0,1", "[0]", "(1, 2)",
           "{1: 2}", "[[]]", "[" * 300, "-" * 300 + "1", "'", "1e999", "--", "=", "trust_modules=true", "cfg=case.yaml",
           "help", "task=pose", "mode=val", "imgsz=0", "imgsz=-1", "epochs=1e9", "batch=-1", "resume",
           "x.streams")  # fmt: skip


class Silent:
    """Stands for a model and for whatever else would begin to work: it takes anything and does nothing."""

    task, overrides, failed = "detect", {}, 0

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name: str):
        return self

    def __iter__(self):
        return iter(())


class Cli:
    """Words of the `yolo` command, up to where the work would begin."""

    def prepare(self) -> None:
        import ultralytics
        from ultralytics import cli
        from ultralytics.data import tools
        from ultralytics.lab import explain, profile_run, receptive_field, transfer
        from ultralytics.lab.compare import command

        make_images("set")
        tiny_model(Path("."))
        data = {"path": "set", "train": "images", "val": "images", "names": ["fire"]}
        Path("set.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
        Path("args.yaml").write_text(SETTINGS[0], encoding="utf-8")
        ckpt = Checkpoint()
        ckpt.prepare()
        shutil.copy("own.pt", "best.pt")

        def nothing(*args, **kwargs) -> Silent:
            return Silent()

        def refuse(*args, **kwargs) -> None:
            raise MissingFileError("Nothing is fetched here.")

        ultralytics.YOLO = explain.YOLO = nothing
        tools.safe_download = profile_run.load_model = transfer.attempt_load_one_weight = refuse
        tools.check_dataset = lambda *_: ("", 0)
        explain.explain = receptive_field.report = command.carry_out = nothing
        explain.table = str
        cli.VERBS["checks"] = lambda words: cli._no_more("checks", words) or 0

    def case(self, rng: random.Random) -> None:
        from ultralytics import cli

        words = rng.choice(COMMANDS).split(" ")
        for _ in range(1 + min(int(rng.expovariate(0.7)), 6)):
            i, kind = rng.randrange(len(words) + 1), rng.randrange(7)
            if kind == 0:
                words[i:i] = [rng.choice(_PIECES)]
            elif kind == 1:
                words[i : i + 1] = []
            elif kind == 2 and words:
                i = rng.randrange(len(words))
                words[i] = words[i].partition("=")[0] + "=" + rng.choice((*_PIECES, *mutate.NUMBERS, *mutate.WORDS))
            elif kind == 3:
                words[i:i] = rng.sample(rng.choice(COMMANDS).split(" "), 1)
            else:
                line = mutate.mutated_text(rng, " ".join(words), COMMANDS)
                words = line.replace("/", "").split(" ") if kind < 6 else words  # no folder but this one
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(words)
        Path("default_copy.yaml").unlink(missing_ok=True)
        assert code in (0, 1, 2), f"exit code {code}"
        assert "Traceback" not in err.getvalue()
        if code == 2:
            raise UserError(err.getvalue().strip())


TARGETS = {"yaml": Yaml, "labels": Labels, "cli": Cli, "checkpoint": Checkpoint, "cache": Cache, "images": Images}
