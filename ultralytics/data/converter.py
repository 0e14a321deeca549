"""Convert labels of other formats to YOLO's text files: COCO, Pascal VOC, VisDrone, DOTA, mask images.

Every converter first writes into a folder of its own, which takes its place when all is done: a failure leaves nothing
behind, and labels that are there already are replaced only with `exist_ok`. The result says what was left out and why.
`yolo_bbox2segment` needs SAM, a product of its own, and says so.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import cv2
import numpy as np

from ultralytics.data.image_files import exif_size, is_image, list_images
from ultralytics.data.outlines import mask_to_polygons, merge_multi_segment, min_index, rle_to_mask
from ultralytics.data.writing import Converted, Writer, box_row, polygon_row, staged
from ultralytics.utils import LOGGER, ROOT, yaml_load
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError
from ultralytics.utils.files import decode, increment_path, open_regular, read_json, read_text
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.archives import safe_join

__all__ = (
    "Converted",
    "coco80_to_coco91_class",
    "coco91_to_coco80_class",
    "convert_coco",
    "convert_dota_to_yolo_obb",
    "convert_segment_masks_to_yolo_seg",
    "convert_visdrone",
    "convert_voc",
    "merge_multi_segment",
    "min_index",
    "read_classes",
    "rle_to_mask",
    "yolo_bbox2segment",
)

DOTA_NAMES = (
    "plane",
    "ship",
    "storage-tank",
    "baseball-diamond",
    "tennis-court",
    "basketball-court",
    "ground-track-field",
    "harbor",
    "bridge",
    "large-vehicle",
    "small-vehicle",
    "helicopter",
    "roundabout",
    "soccer-ball-field",
    "swimming-pool",
    "container-crane",
    "airport",
    "helipad",
)  # those of 1.0, one more of 1.5, two more of 2.0
_COCO91_MISSING = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}  # ids without a class in the sets since 2014
_MASK_SUFFIXES = {".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp"}
_XML_ENCODINGS = {
    **dict.fromkeys(("gb2312", "gbk", "gb18030", "cp936"), "gb18030"),
    **{name: name for name in ("big5", "shift_jis", "euc-jp", "euc-kr")},
}
_VOC_YEARS, _VOC_SPLITS = ("2012", "2007"), ("train", "val", "test")


# COCO -----------------------------------------------------------------------------------------------------------------


def coco91_to_coco80_class() -> list[int | None]:
    """Return the class 0 to 79 for each of COCO's category ids 1 to 91, and None for those that are not used."""
    numbers = iter(range(80))
    return [None if i in _COCO91_MISSING else next(numbers) for i in range(1, 92)]


def coco80_to_coco91_class() -> list[int]:
    """Return COCO's category id for each class 0 to 79."""
    return [i for i in range(1, 92) if i not in _COCO91_MISSING]


def convert_coco(
    labels_dir: str | Path = "../coco/annotations/",
    save_dir: str | Path = "coco_converted/",
    use_segments: bool = False,
    use_keypoints: bool = False,
    cls91to80: bool = True,
    lvis: bool = False,
) -> Path:
    """Convert COCO's JSON files to label files below a new folder.

    Objects marked `iscrowd` are left out. Outlines of several parts become one, run-length masks become outlines.

    Args:
        labels_dir: folder of JSON files, or one file; `instances_train2017.json` gives `labels/train2017/`.
        save_dir: `labels/` is made in it; if it exists, in `coco_converted2` and so on.
        use_segments: write outlines instead of boxes.
        use_keypoints: write boxes with keypoints.
        cls91to80: map COCO's ids to its 80 classes; else the class is the id less 1 (the id, if ids begin at 0).
        lvis: the images are named by `coco_url`, and lie in the folder named there; ids are not mapped.

    Returns:
        The folder.
    """
    if use_segments and use_keypoints:
        raise ConfigError("A label file holds outlines or keypoints: pass use_segments or use_keypoints, not both.")
    source = Path(labels_dir)
    files = [source] if source.is_file() else sorted(source.glob("*.json"))
    if not files:
        raise MissingFileError(f"There is no JSON file in '{source}'. Give the folder of annotations, or one file.")
    folder = increment_path(save_dir, mkdir=True)
    try:
        for file in files:
            data = _read_coco(file)
            if data["annotations"] and not any("category_id" in a for a in data["annotations"]):
                LOGGER.info(f"'{file}' describes no objects (captions, perhaps) and is passed over.")
                continue
            with staged(folder / "labels" / ("" if lvis else file.stem.replace("instances_", ""))) as writer:
                _convert_coco_file(data, writer, use_segments, use_keypoints, cls91to80 and not lvis, lvis)
    except BaseException:
        shutil.rmtree(folder)  # made above, so nothing of the user's is in it
        raise
    return folder


def _read_coco(file: Path) -> dict:
    data = read_json(file, limits.JSON_BYTES)
    wanted = ("images", "annotations")
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in wanted):
        raise DataError(f"'{file}' is no COCO description: the lists `images` and `annotations` are wanted in it.")
    parts = [part for key in (*wanted, "categories") for part in data.get(key) or ()]
    if odd := next((part for part in parts if not isinstance(part, dict)), None):
        raise DataError(f"'{file}' is no COCO description: '{str(odd)[:60]}' stands where an object is wanted.")
    return data


def _convert_coco_file(
    data: dict, writer: Writer, use_segments: bool, use_keypoints: bool, cls91to80: bool, lvis: bool
) -> None:
    """Write the labels of one JSON file; an image without objects gets an empty file."""
    result = writer.result
    classes = _coco_classes(data, cls91to80)
    by_image: dict[object, list[dict]] = defaultdict(list)
    for annotation in data["annotations"]:
        by_image[_key(annotation.get("image_id"))].append(annotation)
    for image in data["images"]:
        try:
            h, w, index = float(image["height"]), float(image["width"]), _key(image["id"])
            name = str(image["coco_url"] if lvis else image["file_name"])
            name = "/".join(PurePosixPath(urlsplit(name).path).parts[-2:]) if lvis else name
            if not min(h, w) >= 1:
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError(f"An image lacks one of id, file_name, height and width: {str(image)[:100]}") from None
        rows = []
        for annotation in by_image.pop(index, ()):
            try:
                row = _coco_row(annotation, classes, w, h, use_segments, use_keypoints)
            except (TypeError, ValueError, IndexError, KeyError, OverflowError) as e:
                raise DataError(f"The object {str(annotation)[:100]} cannot be read ({e}).") from None
            if row.startswith("!"):
                result.left_out[row[1:]] += 1
            else:
                rows.append(row)
        writer.write(name, rows)
    if by_image:
        result.left_out["of images that are not listed"] += sum(map(len, by_image.values()))
    numbers = {int(c["id"]): str(c.get("name")) for c in data.get("categories") or ()}
    result.names = {classes[i]: name for i, name in numbers.items() if i in classes}


def _key(value: object) -> int | str | float | None:
    """Return an id in a form that can be looked up."""
    return value if isinstance(value, (int, str, float, type(None))) else str(value)


def _coco_classes(data: dict, cls91to80: bool) -> dict[int, int]:
    """Return the class of each category id."""
    try:
        ids = {int(c["id"]) for c in data.get("categories") or ()}
        ids |= {int(a["category_id"]) for a in data["annotations"] if a.get("category_id") is not None}
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise DataError(f"An id of a category is no number ({e}).") from None
    if not cls91to80:
        return {i: i - (0 if 0 in ids else 1) for i in ids if i >= 0}
    foreign = sorted(i for i in ids if not 1 <= i <= 91)
    if foreign:
        raise DataError(f"The category id {foreign[0]} is none of COCO's 1 to 91. Pass cls91to80=False for your own.")
    return {i: cls for i, cls in enumerate(coco91_to_coco80_class(), 1) if cls is not None}


def _coco_row(
    annotation: dict, classes: dict[int, int], w: float, h: float, use_segments: bool, use_keypoints: bool
) -> str:
    """Return the line of one object, or `!` and the reason to leave it out."""
    if annotation.get("iscrowd"):
        return "!crowds"
    cls = classes.get(annotation.get("category_id", -1))
    if cls is None:
        return "!of an unknown class"
    box = annotation.get("bbox") or (0, 0, 0, 0)
    xyxy = (box[0], box[1], box[0] + box[2], box[1] + box[3])
    row = box_row(cls, xyxy, w, h)
    if use_keypoints:
        points = annotation.get("keypoints")
        if not points or len(points) % 3:
            return "!without keypoints"
        return f"{row} {_keypoints(points, w, h)}" if row else "!degenerate boxes"
    if use_segments:
        x1, y1, x2, y2 = xyxy
        points = _coco_outline(annotation.get("segmentation"))
        outline = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) if points is None else points
        return polygon_row(cls, outline, w, h) or "!degenerate outlines"
    return row or "!degenerate boxes"


def _coco_outline(segmentation: Mapping[str, object] | Sequence[Sequence[float]] | None) -> np.ndarray | None:
    """Return the one outline (n, 2) of an object in pixels, or None if it has none."""
    parts: list[Sequence[float]]
    if isinstance(segmentation, Mapping):
        parts = [p.ravel().tolist() for p in mask_to_polygons(rle_to_mask(segmentation))]
    else:
        parts = [p for p in segmentation or () if len(p) >= 6 and len(p) % 2 == 0]
    return np.concatenate(merge_multi_segment(parts)) if parts else None


def _keypoints(points: Sequence[float], w: float, h: float) -> str:
    """Return x, y (fractions) and visibility of each keypoint; one outside the image becomes 0 0 0."""
    values = np.asarray(points, np.float64).reshape(-1, 3) / (w, h, 1)
    outside = (values[:, :2] < 0).any(1) | (values[:, :2] > 1).any(1) | (values[:, 2] == 0)
    values[outside] = 0
    return " ".join(f"{v:.6g}" for v in values.ravel())


# Pascal VOC -----------------------------------------------------------------------------------------------------------


def convert_voc(
    annotations_dir: str | Path,
    save_dir: str | Path,
    names: Sequence[str] | Mapping[int, str] | None = None,
    one_based: bool = False,
    difficult: bool = True,
    exist_ok: bool = False,
) -> Converted:
    """Convert Pascal VOC's XML files to label files.

    Args:
        annotations_dir: folder of XML files.
        save_dir: folder for the label files.
        names: classes in order; those found, sorted, if None.
        one_based: pixels are counted from 1, as in the VOC sets themselves.
        difficult: keep objects marked so.
        exist_ok: replace label files that are there.
    """
    files = sorted(Path(annotations_dir).glob("*.xml"))
    if not files:
        raise MissingFileError(f"There is no XML file in '{annotations_dir}'. Give the folder of annotations.")
    numbers = _numbers(names) if names else _numbers(sorted({o[0] for f in files for o in _read_voc(f)[2]}))
    with staged(save_dir, exist_ok) as writer:
        for file in files:
            writer.write(f"{file.stem}.txt", _voc_rows(file, numbers, one_based, difficult, writer.result))
        writer.result.names = {i: name for name, i in numbers.items()}
    return writer.result


def _numbers(names: Sequence[str] | Mapping[int, str]) -> dict[str, int]:
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
    return {str(name): int(i) for i, name in pairs}


def _voc_rows(file: Path, numbers: dict[str, int], one_based: bool, difficult: bool, result: Converted) -> list[str]:
    w, h, objects = _read_voc(file)
    rows = []
    for name, (x1, y1, x2, y2), hard in objects:
        if name not in numbers:
            result.left_out["of an unknown class"] += 1
        elif hard and not difficult:
            result.left_out["difficult"] += 1
        elif row := box_row(numbers[name], (x1 - one_based, y1 - one_based, x2, y2), w, h):
            rows.append(row)
        else:
            result.left_out["degenerate boxes"] += 1
    return rows


def _read_voc(file: Path) -> tuple[float, float, list[tuple[str, tuple[float, ...], bool]]]:
    """Return width, height and (name, xyxy, difficult) of each object."""
    from xml.etree import ElementTree
    from xml.parsers.expat import ExpatError

    with open_regular(file) as f:
        text = f.read(limits.XML_BYTES + 1)
    if len(text) > limits.XML_BYTES:
        raise DataError(f"'{file}' has more than {limits.XML_BYTES} bytes, which no annotation has.")
    try:
        text = _for_expat(text, file)
        _refuse_entities(text, file)
        root = ElementTree.fromstring(text)
        w, h = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        objects = [
            (
                (thing.findtext("name") or "").strip(),
                tuple(float(thing.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")),
                (thing.findtext("difficult") or "0").strip() == "1",
            )
            for thing in root.iter("object")
        ]
    except DataError:
        raise
    except (ElementTree.ParseError, ExpatError, ValueError, LookupError) as e:
        raise DataError(f"'{file}' is no annotation of Pascal VOC ({e}).") from None
    if not min(w, h) > 0:
        raise DataError(f"'{file}' says that its image is {w:g} x {h:g} pixels. Write the true `size` into it.")
    return w, h, objects


def _for_expat(data: bytes, file: Path) -> bytes:
    """Return an XML file's bytes, as UTF-8 if they are in an East Asian encoding, which expat cannot read."""
    head = re.match(rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([\w.-]+)[\"'][^>]*\?>", data)
    declared = head[1].decode("ascii", "replace").lower() if head else "utf-8"
    if declared in _XML_ENCODINGS:
        text = data.decode(_XML_ENCODINGS[declared])
    elif declared in {"utf-8", "utf8"} and b"\0" not in data:
        text = decode(data, file)
    else:
        return data
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1).encode()


def _refuse_entities(text: bytes, file: Path) -> None:
    """Raise DataError for entity definitions, by which a small file can expand without limit."""
    from xml.parsers import expat

    def refuse(*_) -> None:
        raise DataError(f"'{file}' defines entities, which annotations have no use for.")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.Parse(text, True)


def arrange_voc(root: str | Path) -> list[Converted]:
    """Convert the VOCdevkit folder to images/ and labels/ with a folder for each split and year."""
    root, results = Path(root), []
    numbers = _numbers(yaml_load(ROOT / "cfg" / "datasets" / "VOC.yaml")["names"])
    for year in _VOC_YEARS:
        kit = root / "VOCdevkit" / f"VOC{year}"
        for split in _VOC_SPLITS:
            listed = kit / "ImageSets" / "Main" / f"{split}.txt"
            stems = read_text(listed).split() if listed.is_file() else []
            stems = [s for s in stems if safe_join(kit, f"Annotations/{s}.xml").is_file()]
            if not stems:
                continue
            folder = root / "images" / f"{split}{year}"
            with staged(root / "labels" / f"{split}{year}", exist_ok=True) as writer:
                for stem in stems:
                    file = kit / "Annotations" / f"{stem}.xml"
                    writer.write(f"{stem}.txt", _voc_rows(file, numbers, True, False, writer.result))
            folder.mkdir(parents=True, exist_ok=True)
            for stem in stems:
                image = kit / "JPEGImages" / f"{stem}.jpg"
                if image.is_file():
                    image.replace(folder / image.name)
            results.append(writer.result)
    return results


# VisDrone -------------------------------------------------------------------------------------------------------------


def convert_visdrone(root: str | Path, exist_ok: bool = False) -> Converted:
    """Convert the annotations/ of a VisDrone-DET part (rows x, y, w, h, score, class 1 to 10, ...) to labels/."""
    root = Path(root)
    files = sorted((root / "annotations").glob("*.txt"))
    if not files:
        raise MissingFileError(f"There is no text file in '{root / 'annotations'}'.")
    with staged(root / "labels", exist_ok) as writer:
        for file in files:
            w, h = image_size(_image_of(root / "images", file.stem))
            rows = []
            for line in read_text(file, limits.LABEL_BYTES).splitlines():
                try:
                    x, y, bw, bh, score, cls = (int(v) for v in line.split(",")[:6])
                except ValueError:
                    raise DataError(f"'{file}' holds '{line[:60]}'; 8 numbers with commas are wanted.") from None
                if not score or not 1 <= cls <= 10:
                    writer.result.left_out["ignored regions and others"] += 1
                elif row := box_row(cls - 1, (x, y, x + bw, y + bh), w, h):
                    rows.append(row)
                else:
                    writer.result.left_out["degenerate boxes"] += 1
            writer.write(file.name, rows)
    return writer.result


def arrange_visdrone(root: str | Path) -> list[Converted]:
    """Convert each part of VisDrone-DET under a folder."""
    return [convert_visdrone(p.parent, exist_ok=True) for p in sorted(Path(root).glob("VisDrone*/annotations"))]


# Names ----------------------------------------------------------------------------------------------------------------


def read_classes(file: str | Path) -> dict[int, str]:
    """Return the class names of LabelImg's `classes.txt`, one in each line."""
    file = Path(file)
    if not file.is_file():
        raise MissingFileError(f"'{file}' does not exist. LabelImg writes classes.txt beside the labels.")
    names = [line.strip() for line in read_text(file, limits.LABEL_BYTES).splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names or "" in names:
        line = names.index("") + 1 if names else 1
        raise DataError(f"'{file}' wants one class name in each line, but line {line} is empty.")
    return dict(enumerate(names))


# DOTA -----------------------------------------------------------------------------------------------------------------


def convert_dota_to_yolo_obb(
    dota_root_path: str | Path, names: Sequence[str] | Mapping[int, str] | None = None, exist_ok: bool = False
) -> list[Converted]:
    """Convert DOTA's corners to label files of rotated boxes.

    Args:
        dota_root_path: has images/train, images/val and labels/train_original, labels/val_original; labels/train and
            labels/val are made.
        names: classes in order; DOTA's 18 if None. Spaces, hyphens and capitals do not matter.
        exist_ok: replace label files that are there.
    """
    root = Path(dota_root_path)
    numbers = {_plain(name): i for name, i in _numbers(names or DOTA_NAMES).items()}
    splits = [s for s in ("train", "val", "test") if (root / "labels" / f"{s}_original").is_dir()]
    if not splits:
        raise MissingFileError(f"There is no '{root / 'labels' / 'train_original'}', which holds DOTA's labels.")
    results = []
    for split in splits:
        with staged(root / "labels" / split, exist_ok) as writer:
            for image in map(Path, list_images(root / "images" / split)):
                label = root / "labels" / f"{split}_original" / f"{image.stem}.txt"
                rows = _dota_rows(label, numbers, image_size(image), writer.result) if label.is_file() else []
                writer.write(label.name, rows)
            writer.result.names = dict(enumerate(numbers))
        results.append(writer.result)
    return results


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


def _dota_rows(file: Path, numbers: dict[str, int], size: tuple[int, int], result: Converted) -> list[str]:
    """Return the lines of rows `x1 y1 x2 y2 x3 y3 x4 y4 name difficult`; lines of the head have fewer words."""
    rows = []
    for line in read_text(file, limits.LABEL_BYTES).splitlines():
        words = line.split()
        if len(words) < 9:
            continue
        try:
            corners = np.array([float(v) for v in words[:8]]).reshape(4, 2)
        except ValueError:
            raise DataError(f"'{file}' holds '{line[:60]}'; 8 numbers, a class name and 0 or 1 are wanted.") from None
        cls = numbers.get(_plain(words[8]))
        row = None if cls is None else polygon_row(cls, corners, *size, whole=True)
        if row:
            rows.append(row)
        else:
            result.left_out["of an unknown class" if cls is None else "degenerate or outside of the image"] += 1
    return rows


# Mask images --------------------------------------------------------------------------------------------------------


def convert_segment_masks_to_yolo_seg(
    masks_dir: str | Path, output_dir: str | Path, classes: int, exist_ok: bool = False
) -> Converted:
    """Convert mask images, whose pixels are 0 for the background and else 1 + class, to label files of outlines.

    Each connected area is one object.

    Args:
        masks_dir: folder of images with one channel (or a palette).
        output_dir: folder for the label files.
        classes: number of classes.
        exist_ok: replace label files that are there.
    """
    files = [p for p in sorted(Path(masks_dir).glob("*")) if p.suffix.lower() in _MASK_SUFFIXES]
    if not files:
        raise MissingFileError(f"There are no mask images in '{masks_dir}'; .png is usual.")
    with staged(output_dir, exist_ok) as writer:
        for file in files:
            writer.write(f"{file.stem}.txt", _mask_rows(file, classes, writer.result))
    return writer.result


def _mask_rows(file: Path, classes: int, result: Converted) -> list[str]:
    from PIL import Image

    try:
        with open_regular(file) as f, Image.open(f) as image:
            mask = np.asarray(image)  # OpenCV would turn the numbers of a palette into its colours
    except Exception as e:  # Pillow's decoders raise whatever their format calls for
        raise DataError(f"The mask '{file}' cannot be read ({type(e).__name__}: {e}).") from None
    if mask.ndim != 2:
        raise DataError(f"The mask '{file}' has {mask.shape[-1]} channels; one is wanted, holding 1 + class.")
    (h, w), rows = mask.shape, []
    for value in np.unique(mask)[np.unique(mask) > 0].tolist():
        if value > classes:
            result.left_out[f"areas with the unknown value {value:g}"] += 1
            continue
        area = (mask == value).astype(np.uint8)
        outlines = mask_to_polygons(area)
        result.left_out["areas too thin for an outline"] += _areas(area) - len(outlines)
        rows += [row for o in outlines if (row := polygon_row(int(value) - 1, o, w, h))]
    result.left_out += Counter()  # drops counts of 0
    return rows


def _areas(mask: np.ndarray) -> int:
    return len(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0])


# Boxes ----------------------------------------------------------------------------------------------------------------


def yolo_bbox2segment(im_dir: str | Path, save_dir: str | Path | None = None, sam_model: str = "sam_b.pt") -> None:
    """Say how labels of boxes become outlines: that takes SAM, which is not part of this package.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"Outlines of the boxes in '{im_dir}' would be drawn by {sam_model}; SAM is not part of this package. Draw "
        "masks with a tool of your choice, and `convert_segment_masks_to_yolo_seg` turns them into labels."
    )


# Images -------------------------------------------------------------------------------------------------------------


def _image_of(folder: Path, stem: str) -> Path:
    """Return the image with a stem, whatever its suffix."""
    found = [p for p in sorted(folder.glob(f"{stem}.*")) if is_image(p)]
    if not found:
        raise MissingFileError(f"There is no image '{stem}' in '{folder}'.")
    return found[0]


def image_size(file: str | Path) -> tuple[int, int]:
    """Return (width, height) of an image as displayed."""
    from PIL import Image

    try:
        with open_regular(file) as f, Image.open(f) as image:
            return exif_size(image)
    except Exception as e:
        raise DataError(f"The image '{file}' cannot be read ({type(e).__name__}: {e}).") from None
