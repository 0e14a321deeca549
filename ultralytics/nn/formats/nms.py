"""Non-maximum suppression inside an exported graph: output (batch, max_det, 6 + extra), rows of zeros at the end.

A row is x1, y1, x2, y2 (of rotated boxes x, y, w, h), confidence, class and what the task adds. It keeps the boxes that
`non_max_suppression` keeps with one class a box.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ultralytics.utils.geometry.overlap import batch_probiou

if TYPE_CHECKING:
    import onnx

    from ultralytics.nn.formats.job import Exportable

APART = 7680  # pixels between the boxes of two classes, so that they do not overlap; too far for single precision
TOP = 1024  # rotated boxes that are compared, each with each in a graph of fixed shapes


@dataclass(frozen=True)
class NMS:
    """Settings of the suppression, fixed when a model is exported."""

    nc: int
    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    agnostic: bool = False
    rotated: bool = False


class WithNMS(nn.Module):
    """A model followed by the suppression, in operators of PyTorch."""

    outputs: list[str]

    def __init__(self, net: Exportable, nms: NMS):
        super().__init__()
        self.net, self.nms, self.outputs = net, nms, net.outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        y = self.net(x)
        pred, *more = [y] if isinstance(y, torch.Tensor) else y
        suppress = suppress_rotated if self.nms.rotated else suppress_upright
        rows = suppress(rows_of(pred, self.nms), self.nms)
        return (rows, *more) if more else rows


def rows_of(pred: torch.Tensor, nms: NMS) -> torch.Tensor:
    """Turn predictions (b, 4 + nc + extra, n), xywh, into (b, n, 6 + extra), the best class of each box."""
    boxes, scores, extra = pred.transpose(1, 2).split((4, nms.nc, pred.shape[1] - 4 - nms.nc), 2)
    conf, cls = scores.max(2, keepdim=True)
    if not nms.rotated:
        half = boxes[..., 2:] / 2
        boxes = torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), 2)
    return torch.cat((boxes, conf, cls.to(pred.dtype), extra), 2)


def suppress_upright(rows: torch.Tensor, nms: NMS) -> torch.Tensor:
    """Return the rows (b, max_det, w) that the suppression keeps of (b, n, w) with upright boxes."""
    boxes = rows[..., :4].double() + rows[..., 5:6].double() * (0 if nms.agnostic else APART)
    return _greedy()(rows, boxes, nms.conf, nms.iou, nms.max_det)


@functools.cache
def _greedy() -> torch.jit.ScriptFunction:
    """Return `greedy` compiled, as its loops do not survive a trace."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch would rather compile
        return torch.jit.script(greedy)


def greedy(rows: torch.Tensor, boxes: torch.Tensor, conf: float, iou: float, max_det: int) -> torch.Tensor:
    """Return the rows (b, max_det, w) kept of (b, n, w), by boxes (b, n, 4) xyxy, moved apart class by class."""
    out = rows.new_zeros((rows.shape[0], max_det, rows.shape[2]))
    for i in range(rows.shape[0]):
        sure = (rows[i, :, 4] > conf).nonzero()[:, 0]
        sure = sure[torch.argsort(rows[i, sure, 4], stable=True, dim=0, descending=True)]
        box = boxes[i, sure]
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        alive = torch.ones_like(sure, dtype=torch.bool)
        found = 0
        for j in range(sure.shape[0]):
            if found < max_det and bool(alive[j]):
                out[i, found] = rows[i, sure[j]]
                found += 1
                low, high = torch.maximum(box[:, :2], box[j, :2]), torch.minimum(box[:, 2:], box[j, 2:])
                shared = (high - low).clamp(min=0).prod(1)
                alive &= ~(shared / (area + area[j] - shared) > iou)
    return out


def suppress_rotated(rows: torch.Tensor, nms: NMS) -> torch.Tensor:
    """Return the rows (b, max_det, w) of (b, n, w), the angle last, that no higher-scoring one overlaps."""
    best = rows[..., 4].topk(min(TOP, rows.shape[1]), 1).indices
    rows = _picked(rows, best)
    sure = rows[..., 4] > nms.conf
    boxes = torch.cat((rows[..., :4], rows[..., -1:]), 2)
    iou = torch.stack([batch_probiou(each, each) for each in boxes]).triu(1)
    if not nms.agnostic:
        iou = iou * (rows[..., 5:6] == rows[..., 5].unsqueeze(1))
    stays = (iou.amax(1) < max(nms.iou, 1e-6)) & sure
    place = torch.arange(rows.shape[1], 0, -1, device=rows.device) * stays  # greatest for the highest-scoring of those
    first = place.topk(min(nms.max_det, rows.shape[1]), 1).indices
    kept = _picked(rows, first) * stays.gather(1, first)[..., None]
    return nn.functional.pad(kept, (0, 0, 0, nms.max_det - kept.shape[1]))


def _picked(rows: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return the rows (b, m, w) at the indices (b, m) of rows (b, n, w)."""
    return rows.gather(1, which[..., None].expand(-1, -1, rows.shape[2]))


def append_to_onnx(model: onnx.ModelProto, nms: NMS) -> onnx.ModelProto:
    """Append the suppression of upright boxes to the first output (b, 4 + nc + extra, n) of an ONNX model."""
    from onnx import checker, helper, numpy_helper, shape_inference

    graph = model.graph
    output = graph.output[0]
    dims = output.type.tensor_type.shape.dim
    width = dims[1].dim_value + 2 - nms.nc
    raw = f"{output.name}_raw"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [raw if name == output.name else name for name in names]

    def constant(name: str, value: object, dtype: torch.dtype = torch.int64) -> str:
        array = torch.tensor(value, dtype=dtype).numpy()
        graph.initializer.append(numpy_helper.from_array(array, f"nms_{name}"))
        return f"nms_{name}"

    def add(op: str, inputs: list[str], outputs: list[str] | str, **attributes: object) -> str:
        outputs = [outputs] if isinstance(outputs, str) else outputs
        outputs = [f"nms_{name}" for name in outputs]
        node = helper.make_node(op, inputs, outputs, outputs[0])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        graph.node.append(node)
        return outputs[0]

    add("Transpose", [raw], "p", perm=[0, 2, 1])
    last, scored = constant("last", [2]), 4 + nms.nc
    parts = {"xy": (0, 2), "wh": (2, 4), "scores": (4, scored), "extra": (scored, dims[1].dim_value)}
    parts = {name: cut for name, cut in parts.items() if cut[0] < cut[1]}
    for name, cut in parts.items():  # not by Split, which like Squeeze and ReduceMax is another in each opset
        add("Slice", ["nms_p", *(constant(f"{name}_{i}", [at]) for i, at in enumerate(cut)), last], name)
    half = add("Mul", ["nms_wh", constant("half_of", 0.5, torch.float32)], "half")
    add("Sub", ["nms_xy", half], "low")
    add("Add", ["nms_xy", half], "high")
    boxes = add("Concat", ["nms_low", "nms_high"], "boxes", axis=2)
    add("ArgMax", ["nms_scores"], "best", axis=2, keepdims=1)
    conf = add("GatherElements", ["nms_scores", "nms_best"], "conf", axis=2)
    cls = add("Cast", ["nms_best"], "cls", to=1)
    zero = constant("zero", 0.0, torch.float32)
    rows = add("Concat", [boxes, conf, cls, *(["nms_extra"] if len(parts) > 3 else [])], "rows", axis=2)

    # Each class by itself: the score of a box counts for its highest-scoring class, and for the others it is 0
    if nms.agnostic:
        own = conf
    else:
        classes = constant("classes", list(range(nms.nc)))
        own = add("Where", [add("Equal", ["nms_best", classes], "is_own"), conf, zero], "own")
    scores = add("Transpose", [own], "by_class", perm=[0, 2, 1])
    limits = [constant("max", [nms.max_det]), constant("iou", [nms.iou], torch.float32)]
    limits.append(constant("conf_min", [nms.conf], torch.float32))
    chosen = add("NonMaxSuppression", [boxes, scores, *limits], "chosen")  # (m, 3): image, class, box

    # Of all that stay, highest-scoring first: the scores of the others become 0, and the list is filled up with zeros
    flat = add("Reshape", [conf, constant("rows_shape", [0, -1])], "flat")  # (b, n)
    column = constant("column_shape", [0, -1, 1])
    where = add("Gather", [chosen, constant("pair", [0, 2])], "where", axis=1)
    none = add("Sub", [flat, flat], "none")
    kept = add("ScatterND", [none, where, add("GatherND", [flat, where], "found")], "kept")
    one = constant("one", [1])
    n = add("Slice", [add("Shape", [flat], "shape"), one, constant("two", [2])], "n")
    k = add("Min", [n, "nms_max"], "k")
    add("TopK", [kept, k], ["top", "order"], axis=1, largest=1, sorted=1)
    picked = add("GatherND", [rows, add("Reshape", ["nms_order", column], "nth")], "picked", batch_dims=1)
    real = add("Greater", [add("Reshape", ["nms_top", column], "sure"), zero], "real")
    clean = add("Where", [real, picked, zero], "clean")
    missing = add("Sub", ["nms_max", k], "missing")
    pads = add("Concat", [constant("before", [0] * 4), missing, constant("after", [0])], "pads", axis=0)
    graph.node.append(helper.make_node("Pad", [clean, pads], [output.name], "nms_output"))

    del dims[1:]
    dims.add().dim_value = nms.max_det
    dims.add().dim_value = width
    del graph.value_info[:]
    model = shape_inference.infer_shapes(model)
    checker.check_model(model)
    return model
