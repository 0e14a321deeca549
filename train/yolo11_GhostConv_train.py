"""The shortest way to train YOLO11 with GhostConv on the fire set. 用 GhostConv 版 YOLO11 训练火焰检测的最短脚本。"""

from pathlib import Path

from ultralytics import YOLO

if __name__ == "__main__":
    model = YOLO("yolo11n-GhostConv.yaml")
    model.train(data=Path(__file__).with_name("coco128.yaml"), epochs=60, imgsz=320, batch=8, nbs=8)
