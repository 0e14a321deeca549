"""Draw the fire-detection dataset: photographs that never were, with YOLO labels.

python tools/generate_fire.py --out datasets/fire --train 80 --val 20 --seed 0
python tools/generate_fire.py --out datasets/fire_large --train 600 --val 200
python tools/generate_fire.py --assets ultralytics/assets
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from firegen import Image, draw  # the folder beside this script

from ultralytics.utils.system.console import guarded, say

FIRE = Path(__file__).resolve().parents[1] / "datasets" / "fire"
# file name: image number
ASSETS = {"fire_day.jpg": 124, "fire_night.jpg": 111, "no_fire.jpg": 17}


def encode(image: np.ndarray, limit: int = 58_000) -> bytes:
    """JPEG of a BGR image, of the best quality from 86 down that takes at most `limit` bytes."""
    for quality in range(86, 40, -4):
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= limit:
            break
    return data


def save(image: Image, images: Path, labels: Path, stem: str) -> None:
    """Write image and label file; without fire the label file is empty. Bytes, so that any path will do."""
    (images / f"{stem}.jpg").write_bytes(encode(image.image))
    (labels / f"{stem}.txt").write_text("".join(f"{line}\n" for line in image.labels()), encoding="utf-8")


def strangers(out: Path, train: int, val: int) -> list[Path]:
    """Images and labels of an earlier, different drawing: left in place, val images would turn up in train too."""
    numbers = {"train": range(1, train + 1), "val": range(train + 1, train + val + 1)}
    wanted = {f"firc_pic_{n}": split for split, ns in numbers.items() for n in ns}
    files = [p for split in numbers for p in (out / split).glob("*/firc_pic_*.*")]
    return sorted(p for p in files if wanted.get(p.stem) != p.parent.parent.name)


def draw_dataset(out: Path, train: int, val: int, seed: int) -> None:
    """Write train and val; numbers run on from the one to the other."""
    for split, first, count in (("train", 1, train), ("val", train + 1, val)):
        images, labels = out / split / "images", out / split / "labels"
        for folder in (images, labels):
            folder.mkdir(parents=True, exist_ok=True)
        (labels / "classes.txt").write_text("fire\n", encoding="utf-8")
        for n in range(first, first + count):
            save(draw(n, seed), images, labels, f"firc_pic_{n}")
            say(f"\r{split}: {n - first + 1}/{count}", end="")
        say()


def draw_assets(out: Path) -> None:
    """Write the few images that the package shows and tests itself with."""
    out.mkdir(parents=True, exist_ok=True)
    for name, number in ASSETS.items():
        (out / name).write_bytes(encode(draw(number).image))


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the fire-detection dataset.")
    parser.add_argument("--out", type=Path, default=FIRE, help="dataset folder")
    parser.add_argument("--train", type=int, default=80, help="training images")
    parser.add_argument("--val", type=int, default=20, help="validation images")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other images")
    parser.add_argument("--clean", action="store_true", help="delete firc_pic files in --out of another drawing")
    parser.add_argument("--assets", type=Path, metavar="FOLDER", help="draw only the package's own images, into FOLDER")
    args = parser.parse_args()
    if args.train < 0 or args.val < 0 or args.seed < 0:
        parser.error("--train, --val and --seed are 0 or more.")
    if args.assets:
        draw_assets(args.assets)
        return
    stale = strangers(args.out, args.train, args.val)
    if stale and not args.clean:
        parser.error(
            f"{args.out} holds {len(stale)} files that this drawing does not have ({stale[0].name}, ...). "
            "Choose another folder with --out, or add --clean to delete them."
        )
    for path in stale:
        path.unlink()
    draw_dataset(args.out, args.train, args.val, args.seed)


if __name__ == "__main__":
    main()
