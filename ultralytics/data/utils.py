"""Dataset descriptions: the YAML with paths and class names, checked and resolved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ultralytics.data.classify_dataset import Share, class_folders, find_samples
from ultralytics.data.image_files import (
    FORMATS_HELP,
    IMG_FORMATS,
    VID_FORMATS,
    exif_size,
    is_image,
    list_images,
    read_image,
)
from ultralytics.data.keeping import (
    HUBDatasetStats,
    compress_one_image,
    get_hash,
    load_dataset_cache_file,
    save_dataset_cache_file,
)
from ultralytics.data.labels import img2label_paths, read_label
from ultralytics.data.masks import polygon2mask, polygons2masks, polygons2masks_overlap
from ultralytics.data.verifying import verify_image, verify_image_label
from ultralytics.utils import LOGGER, ROOT, yaml_load
from ultralytics.utils.checks import check_class_names, check_yaml
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError
from ultralytics.utils.files import atomic_write
from ultralytics.utils.hostile import limits

__all__ = (
    "FORMATS_HELP",
    "FORMATS_HELP_MSG",
    "HELP_URL",
    "IMG_FORMATS",
    "PIN_MEMORY",
    "VID_FORMATS",
    "HUBDatasetStats",
    "autosplit",
    "check_class_names",
    "check_cls_dataset",
    "check_det_dataset",
    "compress_one_image",
    "exif_size",
    "find_dataset_yaml",
    "get_hash",
    "img2label_paths",
    "is_image",
    "list_images",
    "load_dataset_cache_file",
    "polygon2mask",
    "polygons2masks",
    "polygons2masks_overlap",
    "read_image",
    "read_label",
    "save_dataset_cache_file",
    "verify_image",
    "verify_image_label",
)

HELP_URL = "docs/datasets.md says how a data set is laid out."
FORMATS_HELP_MSG = FORMATS_HELP
PIN_MEMORY = os.getenv("PIN_MEMORY", "true").lower() == "true"  # of the loaders, for faster copies to a GPU
SPLITS = ("train", "val", "test", "minival")
_REQUIRED = ("train", "val")


def check_det_dataset(dataset: str | Path, autodownload: bool = False) -> dict:
    """Read a data YAML and find its images; nothing is ever downloaded.

    Args:
        dataset: a YAML file, or the name of one of the package's own such as 'fire.yaml'.
        autodownload: accepted for compatibility, without effect.

    Returns:
        The YAML's content with absolute `path`, `train`, `val` (and `test`), `nc`, `names` {int: str}, `yaml_file`, and
        for keypoints `kpt_shape` [how many, 2 or 3 values each] and `flip_idx`. A dataset for validation only leaves
        `train:` empty, and it is None.

    Raises:
        MissingFileError: the YAML, or the images that it names, do not exist; the message lists the places tried.
        DataError: a key is missing or the names do not match.
    """
    file = Path(check_yaml(str(dataset)))
    data = yaml_load(file)
    if "val" not in data and "validation" in data:
        data["val"] = data.pop("validation")
    _check_keys(data, file)
    data["names"], data["nc"] = _names(data, file)
    _check_keypoints(data, file)
    root, splits = _find_splits(data, file)
    return data | splits | {"path": root, "yaml_file": str(file)}


def find_dataset_yaml(path: str | Path) -> Path:
    """Find the data YAML of a folder: the one there, else the one below; of several, the one that bears its name.

    Raises:
        MissingFileError: there is none.
        ConfigError: there are several, and none bears the name of the folder.
    """
    path = Path(path)
    found = sorted(path.glob("*.yaml")) or sorted(path.rglob("*.yaml"))
    named = [file for file in found if file.stem == path.stem]
    found = named if len(found) > 1 and named else found
    if not found:
        raise MissingFileError(f"There is no YAML file in '{path.resolve()}'. {HELP_URL}")
    if len(found) > 1:
        raise ConfigError(f"There are {len(found)} YAML files in '{path.resolve()}'. Give the path of one of them.")
    return found[0]


def refuse_without(data: dict, key: str) -> None:
    """Raise DataError if a description (see `check_det_dataset`) names no images for a split."""
    if not data.get(key):
        raise DataError(
            f"'{data.get('yaml_file', 'The data YAML')}' has no `{key}:` line, or an empty one; it names the folder of "
            f"the {key} images. Add it, as `{key}: {key}/images`."
        )


def as_single_class(data: dict) -> dict:
    """Merge the classes of a description into one called `item`, as none of their names would fit all."""
    if data["nc"] == 1:
        return data
    LOGGER.info(f"single_cls=True: the {data['nc']} classes count as one, called 'item'.")
    return data | {"nc": 1, "names": {0: "item"}}


def _check_keys(data: dict, file: Path) -> None:
    if "train" in data and not data["train"]:
        data["train"] = None
    for key in _REQUIRED:
        if not data.get(key) and not (key == "train" and key in data):
            refuse_without({"yaml_file": file}, key)
    if "\0" in str(data.get("path", "")) or not isinstance(data.get("path") or "", (str, int, float)):
        raise DataError(f"'{file}' says `path: {str(data['path'])[:80]!r}`; a folder is wanted, or leave `path` out.")
    for key in SPLITS:
        value = data.get(key)
        parts = _as_list("" if value is None else value)
        if not all(isinstance(part, (str, int, float)) and "\0" not in str(part) for part in parts):
            raise DataError(
                f"'{file}' says `{key}: {str(value)[:80]}`; a folder, a list in a text file, or several of them in "
                f"brackets are wanted, as `{key}: [{key}/images, more/images]`."
            )
    source = data.get("download")
    if isinstance(source, (list, tuple, dict)):
        source = next((part for part in source if not isinstance(part, str)), "")
    if source is not None and not isinstance(source, str):
        raise DataError(f"'{file}' says `download: {str(data['download'])[:80]}`; an address is wanted, or several.")
    if "names" not in data and "nc" not in data:
        raise DataError(f"'{file}' has no `names:`, the list of class names. Add it, as `names: [fire]`.")


def _names(data: dict, file: Path) -> tuple[dict[int, str], int]:
    """Return the class names as a dict, and their number."""
    nc = data.get("nc")
    if nc is not None and (isinstance(nc, bool) or not isinstance(nc, int) or not 1 <= nc <= limits.CLASSES):
        raise DataError(
            f"'{file}' says `nc: {str(nc)[:40]}`; the number of classes is a whole number of at least 1 and at most "
            f"{limits.CLASSES}."
        )
    if data.get("names") is None and nc:
        return {i: f"class_{i}" for i in range(nc)}, nc
    given = data.get("names")
    if not isinstance(given, (list, dict)) or not given:
        raise DataError(f"'{file}' says `names: {given}`; wanted is a list of names, or a mapping as '0: fire'.")
    try:
        names = check_class_names(given)
    except DataError as e:
        raise DataError(f"In '{file}': {e}") from None
    if odd := next((name for name in names.values() if "\ufffd" in name), None):
        raise DataError(f"'{file}' is in an unknown encoding: it has a class '{odd}'. Save it as UTF-8.")
    if nc is not None and nc != len(names):
        raise DataError(f"'{file}' says `nc: {nc}` but lists {len(names)} names. Make them agree, or leave `nc` out.")
    return names, len(names)


def _check_keypoints(data: dict, file: Path) -> None:
    """Raise DataError if `kpt_shape` or `flip_idx` is invalid."""
    shape, flip = data.get("kpt_shape"), data.get("flip_idx")
    if shape is not None:
        whole = isinstance(shape, (list, tuple)) and len(shape) == 2 and all(type(v) is int for v in shape)
        if not whole or shape[0] < 1 or shape[1] not in {2, 3}:
            raise DataError(
                f"'{file}' says `kpt_shape: {shape}`; wanted are the number of keypoints and 2 (x, y) or 3 "
                "(x, y, visibility) numbers of each, as `kpt_shape: [17, 3]`."
            )
        data["kpt_shape"] = list(shape)
    if not flip:
        return
    if shape is None:
        raise DataError(f"'{file}' has `flip_idx` but no `kpt_shape`. Add it, as `kpt_shape: [17, 3]`.")
    if not isinstance(flip, (list, tuple)) or not all(type(i) is int for i in flip):
        raise DataError(f"'{file}' says `flip_idx: {str(flip)[:80]}`; a list of the keypoints' numbers is wanted.")
    if len(flip) != shape[0]:
        raise DataError(
            f"'{file}' has {len(flip)} entries in `flip_idx` and {shape[0]} keypoints in `kpt_shape`; `flip_idx` says "
            "for each keypoint which one takes its place in a mirror. Give one entry for each keypoint."
        )
    if sorted(flip) != list(range(shape[0])):
        raise DataError(
            f"'{file}' says `flip_idx: {flip}`; it must name each of the keypoints 0 to {shape[0] - 1} once."
        )
    data["flip_idx"] = list(flip)


def check_cls_dataset(dataset: str | Path, split: str = "") -> dict:
    """Find the folders of a classification dataset; nothing is ever downloaded.

    Args:
        dataset: a folder with `train` and `val` (or `test`), each with one folder of images per class; or a folder of
            such class folders, of whose images a fifth is then kept for validation. Looked up as given, then in
            datasets_dir.
        split: a split that must exist, such as 'val'.

    Returns:
        train, val, test (paths, or None), nc, and names {int: str} from the folders.

    Raises:
        MissingFileError: the folder or the wanted split does not exist; the message lists the places tried.
        DataError: there are no images, or a split has a class that training lacks.
    """
    root = _find_folder(dataset)
    found: dict[str, Path | Share | None] = {
        "train": _first_folder(root, "train"),
        "val": _first_folder(root, "val", "validation", "valid"),
        "test": _first_folder(root, "test"),
    }
    if not any(found.values()):
        found = {"train": Share(str(root), "train"), "val": Share(str(root), "val"), "test": None}
    if found["train"] is None:
        raise MissingFileError(f"'{root}' has no folder 'train'. Put the training images there, a folder per class.")
    found["val"] = found["val"] or found["test"]
    if found.get(split or "val") is None:
        raise MissingFileError(f"'{root}' has no folder '{split or 'val'}'. Put images there, a folder per class.")
    names, _ = find_samples(found["train"])
    for key, folder in found.items():
        unknown = sorted(set(class_folders(folder)) - set(names)) if folder else []
        if unknown:
            raise DataError(
                f"'{folder}' has the class folders {', '.join(unknown[:5])}, which '{found['train']}' has not. "
                f"The folders of {key} must be among those of train."
            )
        if folder and sorted(class_folders(folder)) != names:
            missing = sorted(set(names) - set(class_folders(folder)))
            raise DataError(
                f"'{folder}' lacks the class folders {', '.join(missing[:5])}, so its classes would be counted "
                "differently than in training. Make the folders, empty if need be."
            )
    return {**found, "nc": len(names), "names": dict(enumerate(names))}


def _find_folder(dataset: str | Path) -> Path:
    """Find a folder as given, relative to the working folder, or in datasets_dir."""
    from ultralytics.utils import SETTINGS

    bases = (Path.cwd(), Path(SETTINGS["datasets_dir"]))
    tried = list(dict.fromkeys((base / os.path.expanduser(str(dataset))).resolve() for base in bases))
    for folder in tried:
        if folder.is_dir():
            return folder
    places = "\n".join(f"  {p}" for p in tried)
    raise MissingFileError(
        f"The classification dataset '{dataset}' is not here; tried\n{places}\nPut there a folder with 'train' and "
        "'val', each with one folder of images per class; nothing is downloaded by itself."
    )


def _first_folder(root: Path, *names: str) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _find_splits(data: dict, file: Path) -> tuple[Path, dict[str, str | list[str]]]:
    """Return the first root that has training and validation images, and each split's absolute path."""
    roots = _roots(data.get("path") or "", file)
    wanted = [key for key in SPLITS if data.get(key)]
    required = [key for key in _REQUIRED if key in wanted]
    for root in roots:
        found = {key: _resolve(data[key], root) for key in wanted}
        absent = [key for key in wanted if not _exists(found[key])]
        if not set(absent) & set(required):
            for key in absent:
                LOGGER.warning(f"WARNING ⚠️ '{file}': `{key}: {data[key]}` does not exist under '{root}'.")
            return root, found
    absent = [key for key in required if not any(_exists(_resolve(data[key], root)) for root in roots)]
    raise _missing(data, file, roots, absent[0] if absent else "val")


def _missing(data: dict, file: Path, roots: list[Path], key: str) -> MissingFileError:
    """Make the error that lists where the images of a split were looked for."""
    tried = "\n".join(f"  {p}" for p in dict.fromkeys(p for root in roots for p in _as_list(_resolve(data[key], root))))
    source, hint = data.get("download"), ""
    if source:
        first = next(iter(source), "") if isinstance(source, (list, dict)) else str(source).strip().splitlines()[0]
        name = file.stem if file.parent == ROOT / "cfg" / "datasets" else file
        hint = f" `yolo data download {name}` fetches them from {first}"
    return MissingFileError(
        f"The {key} images of '{file}' (`{key}: {data[key]}`) are not here; tried\n{tried}\n"
        f"Put the images there, or correct `path` and `{key}` in that file; nothing is downloaded by itself.{hint}"
    )


def _roots(path: str, file: Path) -> list[Path]:
    """Return the roots of splits to try: `path` beside the YAML, in the working folder, and in datasets_dir."""
    from ultralytics.utils import SETTINGS

    bases = [file.resolve().parent, Path.cwd(), Path(SETTINGS["datasets_dir"])]
    return list(dict.fromkeys((base / os.path.expanduser(str(path))).resolve() for base in bases))


def _resolve(value: object, root: Path) -> str | list[str]:
    """Return the absolute path of a split, or of each of its parts."""
    if isinstance(value, (list, tuple)):
        return [_absolute(v, root) for v in value if v != ""]
    return _absolute(value, root)


def _absolute(value: object, root: Path) -> str:
    """Return the absolute path of a part of a split.

    Links are not followed: images may lie elsewhere, while the labels lie beside the link.
    """
    path = os.path.abspath(root / str(value))
    if str(value).startswith("~") and not os.path.exists(path):
        path = os.path.abspath(root / os.path.expanduser(str(value)))
    if not os.path.exists(path) and str(value).startswith("../"):  # some exports count from a folder below their YAML
        inside = os.path.abspath(root / str(value)[3:])
        path = inside if os.path.exists(inside) else path
    return path


def _as_list(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _exists(value: str | list[str]) -> bool:
    return all(os.path.exists(p) for p in _as_list(value))  # Path.exists raises for names that are too long


def autosplit(
    path: str | Path = "datasets/coco8/images",
    weights: Sequence[float] = (0.9, 0.1, 0.0),
    annotated_only: bool = False,
    seed: int = 0,
) -> dict[str, int]:
    """Split the images of a folder at random: autosplit_train.txt, _val.txt and _test.txt are written beside it.

    Args:
        path: folder of images, with its subfolders.
        weights: of train, val and test; a split of weight 0 gets no file.
        annotated_only: leave out images without a label file.
        seed: of the random split.

    Returns:
        The number of images in each split.
    """
    shares = np.asarray(weights, np.float64)
    if shares.shape != (3,) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.sum():
        raise ConfigError(f"weights={tuple(weights)} is not possible; give three numbers for train, val and test.")
    path = Path(path)
    files = [Path(f) for f in list_images(path)]
    if annotated_only:
        files = [f for f, label in zip(files, img2label_paths(files)) if Path(label).is_file()]
    if not files:
        raise MissingFileError(f"There are no images{' with labels' if annotated_only else ''} in '{path}'.")
    ends = np.round(np.cumsum(shares / shares.sum()) * len(files)).astype(int)
    order = np.random.default_rng(seed).permutation(len(files))
    counts = {}
    for split, chosen in zip(("train", "val", "test"), np.split(order, ends[:2])):
        target = path.parent / f"autosplit_{split}.txt"
        target.unlink(missing_ok=True)  # of an earlier split
        if len(chosen):
            lines = sorted(f"./{files[i].relative_to(path.parent).as_posix()}\n" for i in chosen)
            with atomic_write(target, "w", encoding="utf-8") as f:
                f.writelines(lines)
        counts[split] = len(chosen)
    LOGGER.info(f"Split '{path}' into {', '.join(f'{n} {split}' for split, n in counts.items())}.")
    return counts
