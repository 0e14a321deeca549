"""The model of each task by the name of its YAML."""

from ultralytics.nn.tasks import (
    BaseModel,
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    SegmentationModel,
    yaml_model_load,
)

CLASSES = {"seg": SegmentationModel, "pose": PoseModel, "obb": OBBModel, "cls": ClassificationModel}


def build(name: str, keys: dict | None = None, **kwargs) -> BaseModel:
    """Build the model of 'yolo11n-seg' or 'yolo11n-seg.yaml', silently; `keys` go into the content of its YAML."""
    name = name.removesuffix(".yaml")
    cls = next((cls for suffix, cls in CLASSES.items() if suffix in name.split("-")), DetectionModel)
    return cls({**yaml_model_load(f"{name}.yaml"), **(keys or {})}, verbose=False, **kwargs)
