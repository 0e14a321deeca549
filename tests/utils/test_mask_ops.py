"""Masks: from prototypes to pixels, between images, and to outlines."""

import numpy as np
import pytest
import torch

from ultralytics.utils import ops
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.geometry.masks import (
    convert_torch2numpy_batch,
    crop_mask,
    masks2segments,
    process_mask,
    process_mask_native,
    process_mask_upsample,
    scale_image,
    scale_masks,
)


def halves(h: int = 16, w: int = 16) -> torch.Tensor:
    """Two prototypes (2, h, w): positive on the left half, positive on the upper half; negative elsewhere."""
    protos = -torch.ones(2, h, w)
    protos[0, :, : w // 2] = 1
    protos[1, : h // 2] = 1
    return protos


def test_crop_mask_keeps_the_inside():
    masks = torch.ones(2, 6, 8)
    cropped = crop_mask(masks, torch.tensor([[2.0, 1, 5, 4], [0, 0, 8, 6]]))
    wanted = torch.zeros(6, 8)
    wanted[1:4, 2:5] = 1
    assert torch.equal(cropped[0], wanted) and cropped[1].all() and masks.all()
    assert crop_mask(masks[:0], torch.zeros(0, 4)).shape == (0, 6, 8)


def test_process_mask_weighs_prototypes_and_cuts_at_the_box():
    boxes = torch.tensor([[0.0, 0, 64, 64], [16, 0, 48, 64]])
    coefficients = torch.tensor([[1.0, 0], [0, 1]])
    masks = process_mask(halves(), coefficients, boxes, (64, 64))
    assert masks.shape == (2, 16, 16) and masks.dtype == torch.float32
    assert masks[0].sum() == 16 * 8 and masks[0, :, :8].all()
    assert masks[1].sum() == 8 * 8 and masks[1, :8, 4:12].all()
    both = process_mask(halves(), torch.tensor([[1.0, 1.0]]), boxes[:1], (64, 64))
    assert both[0].sum() == 8 * 8, "where the sum is positive"


@pytest.mark.parametrize("function", [process_mask_upsample, lambda *a: process_mask(*a, upsample=True)])
def test_masks_of_the_size_of_the_input(function):
    masks = function(halves(), torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 8, 64, 40]]), (64, 64))
    assert masks.shape == (1, 64, 64)
    assert set(masks.unique().tolist()) == {0, 1}
    assert masks[0, 12:36, :30].all() and not masks[0, :, 34:].any() and not masks[0, 46:].any()


def test_native_masks_lie_on_the_original_image():
    """An image (50, 100) in a square of 64: the borders above and below are a quarter each."""
    masks = process_mask_native(halves(), torch.tensor([[0.0, 1]]), torch.tensor([[10.0, 0, 90, 50]]), (50, 100))
    assert masks.shape == (1, 50, 100)
    assert masks[0, :23, 12:88].all() and not masks[0, 27:].any() and not masks[0, :, :10].any()


def test_many_masks_are_each_cut_at_their_own_box():
    """More than are made at a time."""
    boxes = torch.tensor([[float(i), 0, i + 1, 64] for i in range(40)])
    for function in (process_mask_upsample, process_mask_native):
        masks = function(torch.ones(1, 16, 16), torch.ones(40, 1), boxes, (64, 64))
        assert masks.sum((1, 2)).tolist() == [64] * 40
        assert masks[:, 0].argmax(1).tolist() == list(range(40))


@pytest.mark.parametrize("function", [process_mask, process_mask_upsample, process_mask_native])
def test_no_object_gives_no_mask(function):
    masks = function(halves(), torch.zeros(0, 2), torch.zeros(0, 4), (64, 64))
    assert len(masks) == 0 and masks.ndim == 3


def test_scale_masks_takes_the_borders_off():
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., 4:12, :] = 1  # the whole of an image half as high as wide
    assert scale_masks(masks, (30, 60)).min() > 0.999
    above = masks.roll(-4, 2)  # borders at the bottom alone
    assert scale_masks(above, (30, 60), padding=False).min() > 0.999
    assert scale_masks(masks[:0], (30, 60)).shape == (0, 1, 30, 60)


def test_scale_image_agrees_and_keeps_its_depth():
    masks = np.zeros((16, 16), np.float32)
    masks[4:12, :8] = 1
    scaled = scale_image(masks, (32, 64))
    wanted = scale_masks(torch.from_numpy(masks)[None, None], (32, 64))[0, 0]
    np.testing.assert_allclose(scaled, wanted, atol=1e-5)
    assert scale_image(masks[..., None].repeat(3, 2), (32, 64)).shape == (32, 64, 3)
    assert scale_image(masks, (16, 16)) is masks
    known = scale_image(masks, (32, 64), ratio_pad=((0.25, 0.25), (0, 4)))
    np.testing.assert_array_equal(known, scaled)


def two_squares() -> torch.Tensor:
    mask = torch.zeros(1, 40, 40)
    mask[0, 2:6, 2:6] = 1
    mask[0, 10:30, 8:28] = 1
    return mask


@pytest.mark.parametrize("kind", [torch.Tensor.numpy, torch.Tensor.bool, torch.Tensor.half])
def test_outline_of_the_largest_piece(kind):
    (segment,) = masks2segments(kind(two_squares()))
    assert segment.dtype == np.float32
    assert sorted(map(tuple, segment.tolist())) == [(8, 10), (8, 29), (27, 10), (27, 29)]


def test_outlines_of_all_pieces_and_of_none():
    assert masks2segments(two_squares(), strategy="concat")[0].shape == (8, 2)
    assert masks2segments(torch.zeros(1, 9, 9))[0].shape == (0, 2)
    assert masks2segments(torch.zeros(0, 9, 9)) == []
    with pytest.raises(ConfigError, match="'every'"):
        masks2segments(two_squares(), strategy="every")


def test_batches_become_arrays():
    batch = torch.zeros(2, 3, 4, 5)
    batch[1, 2, 3, 4], batch[1, 0, 0, 0] = 1.0, 1.5
    array = convert_torch2numpy_batch(batch)
    assert array.shape == (2, 4, 5, 3) and array.dtype == np.uint8
    assert array[1, 3, 4].tolist() == [0, 0, 255] and array[1, 0, 0].tolist() == [255, 0, 0]


def test_ops_offers_them():
    assert ops.process_mask is process_mask and ops.masks2segments is masks2segments
