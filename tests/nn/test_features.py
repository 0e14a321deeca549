"""Features of layers, and test-time augmentation."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model
from torch import nn

from fill import fill, image
from ultralytics.nn.features import VIEWS, embed, predict_augmented, watch_layers
from ultralytics.nn.tasks import DetectionModel


@pytest.fixture
def model(tmp_path) -> DetectionModel:
    model = DetectionModel(tiny_model(tmp_path), verbose=False).eval()
    fill(model)
    return model


class Finder(nn.Module):
    """A stand-in for a detector of one object: a box around all bright pixels, at each position of two maps."""

    task = "detect"
    stride = torch.tensor([32.0, 64.0])

    def predict(self, x: torch.Tensor):
        maps = [torch.zeros(len(x), 66, x.shape[2] // s, x.shape[3] // s) for s in (32, 64)]
        n = sum(m.shape[-2:].numel() for m in maps)
        out = torch.zeros(len(x), 6, n)
        for i, pixels in enumerate(x[:, 0]):
            ys, xs = torch.where(pixels > 0.9)
            x1, y1, x2, y2 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
            box = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
            out[i, :4] = box[:, None]
            out[i, 4:] = 0.5
        return out, maps


@torch.inference_mode()
def test_boxes_of_all_views_lie_on_the_object():
    """Scaled and mirrored back, the box is the same within the blur of resizing."""
    x = torch.zeros(1, 3, 256, 320)
    x[:, :, 40:120, 30:190] = 1
    decoded, maps = predict_augmented(Finder(), x)
    assert maps is None
    wanted = torch.tensor([110.0, 80.0, 160.0, 80.0])
    assert (decoded[0, :4] - wanted[:, None]).abs().max() < 1
    # 256x320 without the coarsest map, 256x320 (212x265, padded) whole, 192x256 without the finest
    assert decoded.shape[-1] == 8 * 10 + (8 * 10 + 4 * 5) + 3 * 4


@torch.inference_mode()
def test_the_view_at_full_size_is_the_plain_prediction(model):
    x = image(1, 96, 128, 0)
    plain, maps = model(x)
    both, _ = model(x, augment=True)
    kept = sum(m.shape[-2:].numel() for m in maps[:-1])
    assert torch.equal(both[..., :kept], plain[..., :kept])
    assert both.shape[:2] == plain.shape[:2] and both.shape[2] > plain.shape[2]
    assert len(VIEWS) == 3


@torch.inference_mode()
def test_other_tasks_predict_on_the_image_alone(model):
    model.task = "segment"
    x = image(1, 64, 64, 0)
    assert torch.equal(model(x, augment=True)[0], model(x)[0])


@torch.inference_mode()
def test_features_stop_at_the_last_layer_wanted(model):
    x, ran = image(2, 64, 64, 0), []
    hooks = [m.register_forward_pre_hook(lambda m, _: ran.append(m.i)) for m in model.model]
    features = embed(model, x, [2, 0])
    assert ran == [0, 1, 2] and features.shape == (2, 16 + 8)
    for hook in hooks:
        hook.remove()
    first = model.model[0](x).mean((2, 3))
    assert torch.allclose(features[:, 16:], first, atol=1e-6)
    assert not any(m._forward_hooks for m in model.model)


def test_watching_changes_nothing_and_ends(model):
    x, seen = image(1, 64, 64, 0), []
    with torch.inference_mode():
        plain = model(x)[0]
        watched = watch_layers(lambda: model(x)[0], model, lambda i, layer, out: seen.append(i))
    assert torch.equal(plain, watched) and seen == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ZeroDivisionError):
        watch_layers(lambda: 1 / 0, model, lambda *_: None)
    assert not any(m._forward_hooks for m in model.model)
