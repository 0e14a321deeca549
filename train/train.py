"""Train a Ghost-lightened YOLO11, and print what the lightening changed. 训练轻量化的 YOLO11，并打印轻量化前后的对比。

    python train/train.py
    python train/train.py --model yolo11s-GhostConv.yaml --data my.yaml --epochs 100 --imgsz 640 --batch 16 --device 0
    python train/train.py --epochs 100 lr0=0.005 close_mosaic=20

What is not given is chosen for the machine: small pictures and few epochs on a CPU, 640 pixels and 100 epochs on a GPU.
Any setting of `yolo help train` can be added as key=value.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What a run takes when nothing is said. A few hundred pictures make few batches: nbs=batch takes a step after each.
ON_CPU = {"epochs": 60, "imgsz": 256, "batch": 8, "nbs": 8, "workers": 2}
ON_GPU = {"epochs": 100, "imgsz": 640, "batch": 16, "nbs": 16, "workers": 8}


def parse(words: list[str] | None = None) -> tuple[argparse.Namespace, dict]:
    """Return the arguments, and the settings given as key=value."""
    from ultralytics.cfg import smart_value

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n-GhostConv.yaml", help="model YAML, or weights to go on from / 模型")
    parser.add_argument("--data", default=str(HERE / "coco128.yaml"), help="data YAML / 数据集配置")
    parser.add_argument("--epochs", type=int, help="passes over the training pictures / 训练轮数")
    parser.add_argument("--imgsz", type=int, help="picture size in pixels / 图片尺寸")
    parser.add_argument("--batch", type=int, help="pictures in a batch / 批大小")
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
    print(f"Training {args.model} on {args.data} with {chosen}.")
    if on_cpu and not given:
        print("This suits a CPU. For more: --imgsz 640 --epochs 200, and --device 0 where there is a GPU.")
    return settings


def main(words: list[str] | None = None) -> None:
    """Train, then compare the model with YOLO11 at the same scale and number of classes."""
    from ultralytics import YOLO
    from ultralytics.lab.profile import cost_of, lightening_table
    from ultralytics.nn.tasks import DetectionModel, guess_model_scale

    args, extra = parse(words)
    settings = choose(args, extra)
    model = YOLO(args.model)
    metrics = model.train(data=args.data, **settings)
    if metrics is None:  # a process that only helped another one to train
        return
    trained = model.trainer.best if model.trainer.best.exists() else model.trainer.last
    plain = f"yolo11{guess_model_scale(args.model) or 'n'}.yaml"
    nc = len(model.names)
    reference, light = cost_of(DetectionModel(plain, nc=nc, verbose=False)), cost_of(model.model, weights=trained)
    print("\nWhat lightening changed / 轻量化前后对比\n")
    print(lightening_table((Path(plain).stem, reference), (Path(args.model).stem, light), nc))
    print(f"\n{Path(args.model).stem} reached mAP50 {metrics.box.map50:.3f} and mAP50-95 {metrics.box.map:.3f}.")
    print(f"Weights / 权重: {trained}")


if __name__ == "__main__":
    try:
        from ultralytics.utils.errors import UserError
    except ModuleNotFoundError as e:
        sys.exit(f"{e}. Install this package first, in the repository's folder: pip install .")
    try:
        main()
    except UserError as e:
        sys.exit(str(e))
