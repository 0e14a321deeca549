"""Train a Ghost-lightened YOLO11, and print what the lightening changed. 训练轻量化的 YOLO11，并打印轻量化前后的对比。

    python train/train.py
    python train/train.py --model yolo11s-GhostConv.yaml --data my.yaml --epochs 100 --imgsz 640 --batch 16 --device 0
    python train/train.py --epochs 100 lr0=0.005 close_mosaic=20

What is not given is chosen for the machine: small images and few epochs on a CPU, 640 pixels and 100 epochs on a GPU.
Any setting of `yolo help train` can be added as key=value.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

try:
    from ultralytics.utils.system.console import ERR, guarded, say
except ModuleNotFoundError as e:
    sys.exit(f"{e}. Install this package first, in the repository's folder: pip install .")

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

HERE = Path(__file__).resolve().parent

# What a run takes when nothing is said. A few hundred images make few batches: nbs=batch takes a step after each.
ON_CPU = {"epochs": 60, "imgsz": 256, "batch": 8, "nbs": 8, "workers": 2}
ON_GPU = {"epochs": 100, "imgsz": 640, "batch": 16, "nbs": 16, "workers": 8}
SCORES = {
    "metrics/mAP50(B)": "mAP50", "metrics/mAP50-95(B)": "mAP50-95", "metrics/mAP50-95(M)": "mAP50-95 of masks",
    "metrics/mAP50-95(P)": "mAP50-95 of keypoints", "metrics/accuracy_top1": "top-1 accuracy",
}  # fmt: skip


def parse(words: list[str] | None = None) -> tuple[argparse.Namespace, dict]:
    """Return the arguments, and the settings given as key=value."""
    from ultralytics.cfg import smart_value

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n-GhostConv.yaml", help="model YAML, or weights to go on from / 模型")
    parser.add_argument("--data", default=str(HERE / "coco128.yaml"), help="data YAML / 数据集配置")
    parser.add_argument("--epochs", type=int, help="passes over the training images / 训练轮数")
    parser.add_argument("--imgsz", type=int, help="image size in pixels / 图片尺寸")
    parser.add_argument("--batch", type=int, help="images in a batch / 批大小")
    parser.add_argument("--device", help="cpu, 0, or 0,1 / 设备")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="any other setting / 其他设置")
    args = parser.parse_args(words)
    odd = [s for s in args.settings if "=" not in s]
    if odd:
        parser.error(f"'{odd[0]}' is no setting; write key=value, such as lr0=0.01.")
    return args, {k: smart_value(v) for k, v in (s.split("=", 1) for s in args.settings)}


def choose(args: argparse.Namespace, extra: dict) -> dict:
    """Return the settings of the run: those given, else those that suit the machine."""
    import torch

    on_cpu = args.device == "cpu" or not torch.cuda.is_available()
    given = {k: getattr(args, k) for k in ("epochs", "imgsz", "batch", "device") if getattr(args, k) is not None}
    if "batch" in given:
        given["nbs"] = max(given["batch"], 1)
    settings = {**(ON_CPU if on_cpu else ON_GPU), **given, **extra}
    chosen = ", ".join(f"{k}={v}" for k, v in settings.items())
    say(f"Training {args.model} on {args.data} with {chosen}.")
    if on_cpu and not given:
        say("This suits a CPU. For more: --imgsz 640 --epochs 200, and --device 0 where there is a GPU.")
    return settings


def plain_twin(model: BaseModel) -> str:
    """Return the name of the YAML that a model was lightened from, that of its family, scale and task.

    `yolo11s-GhostConv-seg.yaml`, and weights trained from it, give `yolo11s-seg.yaml`. Who has no family is
    compared with yolo11.
    """
    from ultralytics.cfg import model_key, model_yamls
    from ultralytics.cfg.tasks import TASKS

    family, scale, variant = "yolo11", model.yaml.get("scale") or "n", ""
    if match := re.match(r"(yolo11|yolov8)[nslmx]?((?:-\w+)*)$", Path(model.yaml.get("yaml_file") or "").stem):
        family, variant = match[1], "".join(re.findall(r"-p[26](?!\w)", match[2]))
    _, dash, task = Path(TASKS[model.task].weights).stem.partition("-")  # yolo11n-seg
    names = [f"{family}{scale}{variant}{dash}{task}.yaml", f"{family}{scale}{dash}{task}.yaml"]
    bundled = model_yamls()
    return next((name for name in names if model_key(Path(name)) in bundled), f"yolo11{scale}{dash}{task}.yaml")


def main(words: list[str] | None = None) -> None:
    """Train, then compare the model with the plain one of the same family, scale and number of classes."""
    from ultralytics import YOLO
    from ultralytics.lab.profile import load_model, profile
    from ultralytics.lab.profile_report import model_table
    from ultralytics.utils import RANK

    args, extra = parse(words)
    settings = choose(args, extra)
    model = YOLO(args.model)
    metrics = model.train(data=args.data, **settings)
    if RANK > 0:  # a process that only helped another one to train
        return
    if metrics is None:  # others trained for this process
        metrics = model.val(data=args.data, device=str(settings.get("device", "")).strip("[]()").split(",")[0])
    trained = model.trainer.best if model.trainer.best.exists() else model.trainer.last
    plain, name = plain_twin(model.model), Path(args.model).stem
    reference = profile(load_model(plain, len(model.names)), name=Path(plain).stem)
    light = profile(model.model, weights=trained, name=name)
    say("\nWhat lightening changed / 轻量化前后对比\n")
    say(model_table([reference, light]))
    found = metrics.results_dict
    reached = " and ".join(f"{short} {found[key]:.3f}" for key, short in SCORES.items() if key in found)
    say(f"\n{name} reached {reached}.")
    say(f"Weights / 权重: {trained}")


def run() -> int:
    """Run the script and return the exit code: 2 for a mistake of the user's."""
    from ultralytics.utils.errors import UserError

    try:
        main()
    except UserError as e:
        say(e, file=ERR)
        return 2
    return 0


if __name__ == "__main__":
    with guarded():
        sys.exit(run())
