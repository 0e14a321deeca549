"""The suppression inside exported graphs keeps what `non_max_suppression` keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ultralytics.nn.formats.nms import NMS, WithNMS, append_to_onnx
from ultralytics.utils.geometry.nms import non_max_suppression


def predictions(n: int = 300, nc: int = 3, extra: int = 0, seed: int = 0, batch: int = 2) -> torch.Tensor:
    """Boxes that overlap in heaps, some surer than others: (batch, 4 + nc + extra, n)."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randint(0, 5, (batch, 2, n), generator=g) * 60.0 + torch.rand(batch, 2, n, generator=g) * 25
    sides = 40 + torch.rand(batch, 2, n, generator=g) * 30
    scores = torch.rand(batch, nc, n, generator=g) ** 2
    return torch.cat((centres, sides, scores, torch.rand(batch, extra, n, generator=g)), 1)


class Given(nn.Module):
    """A model that gives what it is given."""

    outputs = ["output0"]

    def forward(self, x):
        return x


def check(rows: torch.Tensor, pred: torch.Tensor, nms: NMS) -> None:
    wanted = non_max_suppression(
        pred, nms.conf, nms.iou, agnostic=nms.agnostic, max_det=nms.max_det, nc=nms.nc, rotated=nms.rotated
    )
    assert rows.shape == (len(pred), nms.max_det, 2 + pred.shape[1] - nms.nc + 0)
    for got, want in zip(rows, wanted):
        assert len(want) > 5 and not got[len(want) :].any()
        torch.testing.assert_close(got[: len(want)], want.float(), rtol=0, atol=1e-4)


CASES = [NMS(3), NMS(3, 0.4, 0.3), NMS(3, 0.1, 0.6, max_det=17), NMS(3, agnostic=True), NMS(3, 0.3, 0.0)]


@pytest.mark.parametrize("nms", CASES, ids=str)
@pytest.mark.parametrize("extra", [0, 4])
def test_torch(nms, extra):
    pred = predictions(extra=extra)
    check(WithNMS(Given(), nms)(pred), pred, nms)


@pytest.mark.parametrize("nms", [NMS(3, rotated=True), NMS(3, 0.5, 0.2, 30, rotated=True)], ids=str)
def test_rotated(nms):
    pred = predictions(extra=1, seed=2)
    check(WithNMS(Given(), nms)(pred), pred, nms)


def test_an_image_without_boxes_and_a_short_list():
    pred = predictions(n=7, batch=1)
    assert not WithNMS(Given(), NMS(3, conf=1.0))(pred).any()
    for rotated in (False, True):
        y = WithNMS(Given(), NMS(3 - rotated, 0.01, rotated=rotated))(pred)
        assert y.shape == (1, 300, 6 + rotated)


@pytest.mark.parametrize("nms", CASES, ids=str)
@pytest.mark.parametrize("extra", [0, 4])
def test_onnx(nms, extra, tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    width, n = 4 + nms.nc + extra, 300
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["b", width, n]) for name in ("images", "output0")]
    node = onnx.helper.make_node("Identity", ["images"], ["output0"])
    graph = onnx.helper.make_graph([node], "given", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(
        append_to_onnx(model, nms).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch in (1, 3):
        pred = predictions(n, nms.nc, extra, seed=batch, batch=batch)
        check(torch.from_numpy(session.run(None, {"images": pred.numpy()})[0]), pred, nms)
    empty = session.run(None, {"images": torch.zeros(2, width, n).numpy()})[0]
    assert empty.shape == (2, nms.max_det, 6 + extra) and not empty.any()
