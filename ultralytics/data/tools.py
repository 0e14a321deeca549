"""`yolo data`: download datasets by name, check them, and convert labels of other formats to YOLO's."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ultralytics.cfg import smart_value
from ultralytics.cfg.words import key_values
from ultralytics.data import converter, labels
from ultralytics.data.image_files import list_images, verify_image
from ultralytics.data.labels import Entry, beside_text, labels_beside
from ultralytics.data.lists import find_images
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import LOGGER, ROOT, yaml_load
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.downloads import check_url, safe_download
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError, UserError, did_you_mean
from ultralytics.utils.hostile.archives import safe_join, unpack
from ultralytics.utils.system.console import say

USAGE = """yolo data list                          the known datasets
yolo data download NAME                 fetch one into datasets_dir (`yolo settings`); training never does this
yolo data check data=NAME.yaml          what a training would find: counts, sizes, classes, faults; exit code 1 if any
yolo data convert FORMAT source=... save_dir=...
                                        labels of another format, which is coco, voc, visdrone, dota or masks
"""
SPLITS = ("train", "val", "test")
ARCHIVES = "archives"  # in datasets_dir: where fetched archives lie, in a folder for each set, until unpacked
_SHOWN = 5  # faulty files listed for each split
_MOST_CLASSES = 30  # of the table, which is cut off behind them
_ARRANGE: dict[str, Callable[[Path], list[converter.Converted]]] = {
    "voc": converter.arrange_voc,
    "visdrone": converter.arrange_visdrone,
}
_CONVERT: dict[str, Callable] = {
    "coco": converter.convert_coco,
    "voc": converter.convert_voc,
    "visdrone": converter.convert_visdrone,
    "dota": converter.convert_dota_to_yolo_obb,
    "masks": converter.convert_segment_masks_to_yolo_seg,
}


def main(words: Sequence[str]) -> int:
    """Run `yolo data` and return the exit code."""
    if not words:
        say(USAGE, end="")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        hint = did_you_mean(verb, VERBS, n=1)
        raise ConfigError(f"`yolo data {verb}` is not possible; it takes {', '.join(VERBS)}.{hint}")
    return VERBS[verb](rest)


# List -----------------------------------------------------------------------------------------------------------------


def show_list(words: Sequence[str]) -> int:
    """Print the known datasets with the first line of their YAML."""
    if words:
        raise ConfigError(f"`yolo data list` takes nothing more, but '{words[0]}' was given.")
    for file in sorted((ROOT / "cfg" / "datasets").glob("*.yaml"), key=lambda f: f.name.lower()):
        say(f"{file.stem:<18}{file.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
    return 0


# Download -------------------------------------------------------------------------------------------------------------


def run_download(words: Sequence[str]) -> int:
    """Download a dataset by name."""
    given = key_values(words, "data download", ("data", "keep"), first="data")
    if "data" not in given:
        raise ConfigError("Which set? Write `yolo data download NAME`; `yolo data list` shows the names.")
    folder = download_dataset(given["data"], keep=smart_value(given.get("keep", "False")) is True)
    say(f"'{given['data']}' is in '{folder}'.")
    return 0


def download_dataset(name: str | Path, keep: bool = False) -> Path:
    """Download the files of a data YAML's `download:` into datasets_dir, unpack them and return the dataset's folder.

    Args:
        name: a data YAML, or the name of one of the package's own with or without '.yaml'.
        keep: keep the archives that were fetched; those put there by hand are kept always.

    Raises:
        MissingFileError: an address cannot be reached; the message says where to put the file by hand.
        DataError: the YAML has no address, or an archive cannot be unpacked safely.
    """
    from ultralytics.utils import SETTINGS

    file = _data_yaml(name)
    data, datasets = yaml_load(file), Path(os.path.expanduser(SETTINGS["datasets_dir"])).resolve()
    root = _root(data, file, datasets)
    if not _absent(data, root):
        LOGGER.info(f"'{file.name}' has its images in '{root}' already; nothing is fetched.")
        return root
    sources, shelf = _sources(data, file), datasets / ARCHIVES / root.name
    targets = [shelf / PurePosixPath(check_url(url).path).name for url, _ in sources]
    if len(set(targets)) < len(targets) or shelf in targets:
        raise DataError(f"The addresses in '{file}' must each end in a file name of their own.")
    fetched = [target for target in targets if not target.exists()]
    archives = [safe_download(url, target, unzip=False, resume=True) for (url, _), target in zip(sources, targets)]
    for archive, (_, folder) in zip(archives, sources):
        count = len(unpack(archive, safe_join(root, folder), strip=root.name))
        LOGGER.info(f"{count} files of '{archive.name}' are in '{root}'.")
    if arrange := data.get("convert"):
        _ARRANGE[arrange](root)
    if absent := _absent(data, root):
        raise DataError(
            f"After unpacking, '{root}' still has no {', '.join(absent)}. The archives may hold another set."
        )
    if not keep:
        for archive in fetched:
            archive.unlink()
        for emptied in (shelf, shelf.parent):
            with contextlib.suppress(OSError):  # what was put there by hand stays
                emptied.rmdir()
    return root


def _data_yaml(name: str | Path) -> Path:
    """Return the path of a data YAML given by path or name."""
    name = str(name)
    name = name if name.lower().endswith((".yaml", ".yml")) else f"{name}.yaml"
    if not Path(name).is_file() and "/" not in name and (ROOT / "cfg" / "datasets" / name).is_file():
        return ROOT / "cfg" / "datasets" / name
    return Path(check_yaml(name))


def _root(data: Mapping[str, object], file: Path, datasets: Path) -> Path:
    """Return the dataset's folder, which must be inside datasets_dir."""
    root = (datasets / str(data.get("path") or file.stem)).resolve()
    if datasets not in root.parents:
        raise DataError(
            f"'{file}' says `path: {data.get('path')}`, which is not inside of '{datasets}'. Correct it, or set "
            "another folder by `yolo settings datasets_dir=...`."
        )
    return root


def _absent(data: Mapping[str, object], root: Path) -> list[str]:
    """Return the paths of training and validation splits that do not exist."""
    given = [value for key in ("train", "val") if (value := data.get(key))]
    paths = [str(p) for value in given for p in (value if isinstance(value, list) else [value])]
    return [p for p in dict.fromkeys(paths) if not (root / p).exists()]


def _sources(data: Mapping[str, object], file: Path) -> list[tuple[str, str]]:
    """Return the URLs, each with the subfolder of the dataset that it is unpacked into."""
    given = data.get("download")
    if not given:
        page = f" Its images come from {data['homepage']}." if data.get("homepage") else ""
        raise DataError(
            f"'{file}' has no `download:` line with an address.{page} Put the images into the folders that it names."
        )
    if isinstance(given, Mapping):
        pairs = [(str(url), str(folder)) for url, folder in given.items()]
    else:
        pairs = [(str(url), ".") for url in (given if isinstance(given, list) else [given])]
    if any(len(url.split()) != 1 for url, _ in pairs):
        raise DataError(f"`download:` in '{file}' is a script, and scripts are not run. Write addresses there.")
    for url, _ in pairs:
        check_url(url)
    if data.get("convert") and data["convert"] not in _ARRANGE:
        raise DataError(f"'{file}' says `convert: {data['convert']}`; allowed are {', '.join(_ARRANGE)}.")
    return pairs


# Check ----------------------------------------------------------------------------------------------------------------


def run_check(words: Sequence[str]) -> int:
    """Print what training would find; the exit code is 1 if there are faults."""
    given = key_values(words, "data check", ("data", "task"), first="data")
    if "data" not in given:
        raise ConfigError("Which set? Write `yolo data check data=NAME.yaml`, or the folder of a classification set.")
    report, faults = check_dataset(given["data"], given.get("task"))
    say(report)
    return int(faults > 0)


def check_dataset(data: str | Path, task: str | None = None) -> tuple[str, int]:
    """Return a report on each split of a set, and the number of faults.

    Args:
        data: a data YAML, or the folder of a classification set with train/CLASS/ and val/CLASS/.
        task: whose label files these are; pose if the YAML has `kpt_shape`, else detect, if None.
    """
    if Path(data).is_dir():
        root = Path(data)
        found = {key: str(root / key) for key in SPLITS if (root / key).is_dir()}
        if "train" not in found:
            raise MissingFileError(
                f"'{root}' has no folder 'train' with one folder for each class, nor is it a data YAML."
            )
        names = {i: p.name for i, p in enumerate(sorted(p for p in Path(found["train"]).iterdir() if p.is_dir()))}
        kpt_shape = None
    else:
        content = check_det_dataset(_data_yaml(data))
        found = {key: content[key] for key in SPLITS if content.get(key)}
        names, kpt_shape = content["names"], content.get("kpt_shape")
    texts, faults = [f"{data}: {len(names)} classes"], 0
    seen: dict[str, set[str]] = {}
    for key, path in found.items():
        try:
            files = find_images(path)
        except UserError as e:
            texts.append(f"\n{key}: {e}")
            faults += 1
            continue
        verify = _of_class_folders(path, names)
        entries = list(verify(files) if verify else _labelled(files, len(names), task, kpt_shape))
        text, count = _describe(key, entries, names, boxed=not verify)
        for other, those in seen.items():
            if both := len(those & set(files)):
                text += f"\n  note: {both} of its images are in {other} too"
        seen[key] = set(files)
        texts.append(text)
        faults += count
    texts.append(f"\n{faults} faults." if faults else "\nNo faults.")
    return "\n".join(texts), faults


def _of_class_folders(
    path: str | list[str], names: Mapping[int, str]
) -> Callable[[Sequence[str]], Iterable[Entry]] | None:
    """Return the function that verifies images by their class folders, or None if a split has no class folders."""
    folders = [*Path(path).iterdir()] if isinstance(path, str) and Path(path).is_dir() else []
    if not folders or any(p.is_file() or p.name in {"images", "labels"} for p in folders):
        return None
    if any(Path(lb).is_file() for f in folders for lb in labels.img2label_paths(list_images(f)[:1])):
        return None  # a detection set in subfolders
    own = sorted(p.name for p in folders)
    known = {name: i for i, name in names.items()}
    if not known.keys() & {*own}:  # the names are for people, and the folders in their order
        known = dict(zip(own, names))

    def verify(file: str) -> Entry:
        folder = Path(file).relative_to(folders[0].parent).parts[0]
        cls = known.get(folder)
        entry = Entry(file, found=True, rows=np.array([[cls or 0, 0.5, 0.5, 1, 1]], np.float32))
        try:
            entry.shape = verify_image(file, deep=True)
        except DataError as e:
            entry.fault = str(e)
        if cls is None and not entry.fault:
            entry.fault = f"unknown class: the folder '{folder}' is none of the names"
        return entry

    return lambda files: labels.parallel(verify, files, desc="Verifying")


def _labelled(files: Sequence[str], nc: int, task: str | None, kpt_shape: Sequence[int] | None) -> Iterable[Entry]:
    """Verify images with their label files, as a training would."""
    layout = labels.layout_of(task or ("pose" if kpt_shape else "detect"), kpt_shape)
    return labels.parallel(
        lambda im, lb: labels.verify_image_label(im, lb, nc, layout=layout, deep=True),
        files,
        labels.img2label_paths(files),
        desc="Verifying",
    )


def _describe(key: str, entries: list[Entry], names: Mapping[int, str], boxed: bool) -> tuple[str, int]:
    """Return the text on one split, and the number of faults in it; `boxed`: its objects have boxes."""
    sound, faulty = [e for e in entries if not e.fault], [e for e in entries if e.fault]
    lines = [f"\n{key}: {len(entries)} images, {len(sound)} of them sound"]
    rows = [e.rows for e in sound]
    boxes = np.concatenate(rows) if rows else np.zeros((0, 5), np.float32)
    unlabelled = sum(not e.found for e in sound)
    background = sum(not len(e.rows) for e in sound)
    duplicates = sum(e.duplicates for e in sound)
    if repeated := len(entries) - len({e.im_file for e in entries}):
        lines.append(f"  note: {repeated} of these are images that are listed again")
    if boxed:
        lines.append(f"  objects: {len(boxes)}; backgrounds: {background}, {unlabelled} of them without a label file")
    if duplicates:
        lines.append(f"  note: {duplicates} rows stand twice and count once")
    if sound:
        lines += _sizes(sound, boxes[: len(boxes) * boxed])
        lines += _classes(rows, names)
    faults = len(faulty)
    if faulty:
        kinds = Counter(e.fault.partition(":")[0] for e in faulty)
        lines.append(f"  faults: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
        lines += [f"    {e.im_file}: {e.fault}" for e in faulty[:_SHOWN]]
        lines += [f"    and {len(faulty) - _SHOWN} more"] if len(faulty) > _SHOWN else []
    if boxed and (beside := labels_beside(sound)):
        lines.append(f"  fault: {beside_text(beside)}")
        faults += 1
    if not sound or background == len(sound):
        lines.append("  fault: there is no image with an object in it, so nothing can be learned or measured")
        faults += 1
    return "\n".join(lines), faults


def _sizes(sound: list[Entry], boxes: np.ndarray) -> list[str]:
    """Return the lines on the sizes of images and boxes."""
    h, w = np.array([e.shape for e in sound]).T
    lines = [f"  images, w x h: {w.min()}x{h.min()} to {w.max()}x{h.max()}, median {np.median(w):g}x{np.median(h):g}"]
    if len(boxes):
        side = np.sqrt(boxes[:, 3] * boxes[:, 4])
        low, middle, high = np.percentile(side, [5, 50, 95]) * 100
        lines.append(f"  objects, side in % of the image: median {middle:.1f}, 90 % within {low:.1f} to {high:.1f}")
    return lines


def _classes(rows: list[np.ndarray], names: Mapping[int, str]) -> list[str]:
    """Return a table of objects and images for each class."""
    cls = np.concatenate([r[:, 0] for r in rows]).astype(np.int64)
    image = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    n = max([*names, int(cls.max(initial=0))]) + 1
    objects = np.bincount(cls, minlength=n)
    images = np.bincount(np.unique(image * n + cls) % n, minlength=n)
    order = sorted(names)
    most = sorted((c for c in order if objects[c]), key=lambda c: -objects[c])[:_MOST_CLASSES]
    shown = order if len(order) <= _MOST_CLASSES else most
    width = max([len(str(names[c])) for c in shown] + [5])
    lines = [f"  {'class':<{width + 5}}{'objects':>9}{'images':>10}"]
    lines += [f"  {c:>3}  {names[c]:<{width}}{objects[c]:>9}{images[c]:>10}" for c in shown]
    if empty := [str(names[c]) for c in order if not objects[c]]:
        some = ", ".join(empty[:_SHOWN]) + (f" and {len(empty) - _SHOWN} more" if len(empty) > _SHOWN else "")
        lines.append(f"  note: no object of {some}")
    if len(shown) < len(order):
        lines.append(f"  the {len(shown)} most frequent of {len(order)} classes are shown")
    return lines


# Convert --------------------------------------------------------------------------------------------------------------


def run_convert(words: Sequence[str]) -> int:
    """Convert labels of another format to YOLO's."""
    if not words or words[0] not in _CONVERT:
        hint = did_you_mean(words[0], _CONVERT, n=1) if words else ""
        raise ConfigError(f"From which format? Write `yolo data convert` and one of {', '.join(_CONVERT)}.{hint}")
    name, function = words[0], _CONVERT[words[0]]
    parameters = list(inspect.signature(function).parameters.values())
    keys = ["source", *("save_dir" if p.name == "output_dir" else p.name for p in parameters[1:])]
    texts = key_values(words[1:], f"data convert {name}", keys, first="source")
    needed = ["source", *(k for k, p in zip(keys[1:], parameters[1:]) if p.default is p.empty)]
    if missing := [k for k in needed if k not in texts]:
        raise ConfigError(f"`yolo data convert {name}` needs {' and '.join(f'{k}=...' for k in missing)}.")
    values = {k: v if k in {"source", "save_dir"} else smart_value(v) for k, v in texts.items()}
    if isinstance(given := values.get("names"), str):
        words = [word.strip(" '\"") for word in given.strip("[]").split(",")]
        values["names"] = converter.read_classes(given) if Path(given).is_file() else words
    result = function(*[values.pop("source")], **{p.name: values[k] for k, p in zip(keys, parameters) if k in values})
    say(f"Converted into '{result}'." if isinstance(result, Path) else "Converted.")
    return 0


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "list": show_list,
    "download": run_download,
    "check": run_check,
    "convert": run_convert,
}
