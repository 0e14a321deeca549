"""What is suggested for a word that is not known."""

from __future__ import annotations

import pytest

from ultralytics.cfg.schema import DEFAULTS
from ultralytics.utils.errors import did_you_mean

TYPOS = """
modle mdoel moedl mdel modl modell model_:model epoch epohcs eposhc epochss:epochs
bacth btach batchsize batch_size:batch
imgsize img_size imgz igmsz image_size img:imgsz lr1 lr lro0:lr0 optimiser optimzer:optimizer pateince patinece:patience
wokers worker:workers devcie devise:device naem nmae:name projct porject:project exsit_ok exist:exist_ok
conf_thres confidence:conf iou_thres iou_threshold:iou hlaf:half save_tx savetxt:save_txt classs class:classes
sinlge_cls:single_cls mosiac:mosaic degree:degrees sourse suorce:source retina:retina_masks agnostic:agnostic_nms
formta formt:format resmue resum:resume freze:freeze stream:stream_buffer vla valid:val mdoe:mode dta dtaa:data
pretrain:pretrained simplfy:simplify opste:opset dropuot:dropout
"""


def pairs() -> list[tuple[str, str]]:
    """Return each slip with the setting that was meant: words up to one with a colon mean what stands behind it."""
    found, waiting = [], []
    for text in TYPOS.split():
        word, colon, meant = text.partition(":")
        waiting.append(word)
        if colon:
            found += [(w, meant) for w in waiting]
            waiting = []
    return found


@pytest.mark.parametrize(("word", "meant"), pairs())
def test_the_setting_that_was_meant_is_suggested(word, meant):
    assert did_you_mean(word, DEFAULTS, n=1) == f" Did you mean {meant!r}?"


def test_nothing_is_suggested_for_what_is_far_from_all():
    assert did_you_mean("xyzzyq", DEFAULTS) == did_you_mean("x" * 100_000, DEFAULTS) == did_you_mean("a", []) == ""


def test_several_come_nearest_first_as_they_are_written():
    assert did_you_mean("ghostcnov", ["Conv", "GhostConv", "GhostConv2"], n=2) == (
        " Did you mean 'GhostConv' or 'GhostConv2'?"
    )
