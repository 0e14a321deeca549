"""The models of the YOLO families that are compared with 8.3.0."""

_V8 = ("yolov8{}-p2", "yolov8{}-p6", "yolov8{}-seg-p6", "yolov8{}-pose-p6")
SCALED = ("yolov5{}", "yolov5{}-p6", "yolov6{}", *_V8)  # one YAML for the scales n, s, m, l and x
SINGLE = (
    *("yolov3", "yolov3-spp", "yolov3-tiny"),
    *("yolov9t", "yolov9s", "yolov9m", "yolov9c", "yolov9e", "yolov9c-seg", "yolov9e-seg"),
    *("yolov10n", "yolov10s", "yolov10m", "yolov10b", "yolov10l", "yolov10x"),
    *("yolov8-cls-resnet50", "yolov8-cls-resnet101"),
)
NAMES = (*SINGLE, *(name.format(scale) for name in SCALED for scale in "nsmlx"))
SMALLEST = (  # whose outputs are compared
    *("yolov3-tiny", "yolov3-spp", "yolov5n", "yolov5n-p6", "yolov6n", "yolov8n-p2", "yolov8n-p6", "yolov8n-pose-p6"),
    *("yolov9t", "yolov9m", "yolov9c-seg", "yolov9e", "yolov10n", "yolov10m", "yolov8-cls-resnet50"),
)
