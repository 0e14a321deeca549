"""Detect objects with ONNX Runtime alone, without PyTorch: python detect_onnx.py best.onnx image.jpg [more.jpg ...]

The model comes from `yolo export model=best.pt format=onnx nms=True`; pip install onnxruntime opencv-python.
"""

import json
import os
import sys

import cv2
import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import, which would report to its maker
import onnxruntime


def letterbox(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, float, int, int]:
    """Scale an image into a frame and pad it with grey; return it with the scale and the border left and above."""
    h, w = image.shape[:2]
    scale = min(height / h, width / w)
    new_w, new_h = round(w * scale), round(h * scale)
    left, top = round((width - new_w) / 2 - 0.1), round((height - new_h) / 2 - 0.1)
    frame = np.full((height, width, 3), 114, np.uint8)
    frame[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
    return frame, scale, left, top


def main(model: str, *files: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    names, (height, width) = json.loads(told["names"]), json.loads(told["imgsz"])
    for file in files:
        image = cv2.imread(file)
        frame, scale, left, top = letterbox(image, height, width)
        x = frame[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
        for x1, y1, x2, y2, score, cls in session.run(None, {"images": np.ascontiguousarray(x)})[0][0, :, :6]:
            if score == 0:  # rows behind the last object are zeros
                break
            box = [(x1 - left) / scale, (y1 - top) / scale, (x2 - left) / scale, (y2 - top) / scale]
            print(file, names[str(int(cls))], f"{score:.3f}", *(f"{v:.1f}" for v in box))


if __name__ == "__main__":
    main(*sys.argv[1:])
