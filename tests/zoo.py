"""The model of each task by the name of its YAML."""

from ultralytics.nn.tasks import (
    BaseModel,
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    SegmentationModel,
)

CLASSES = {"seg": SegmentationModel, "pose": PoseModel, "obb": OBBModel, "cls": ClassificationModel}


def build(name: str, **kwargs) -> BaseModel:
    """Build the model of 'yolo11n-seg' or 'yolo11n-seg.yaml', silently."""
    name = name.removesuffix(".yaml")
    return CLASSES.get(name.rpartition("-")[2], DetectionModel)(f"{name}.yaml", verbose=False, **kwargs)
