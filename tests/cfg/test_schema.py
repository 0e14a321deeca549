"""The schema is complete, consistent, and the source of `default.yaml` and the help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ultralytics.cfg import DEFAULT_CFG_PATH, MODES
from ultralytics.cfg.schema import DEFAULTS, SPECS, Settings, default_yaml, help_text
from ultralytics.utils.errors import ConfigError

# The 106 keys of 8.3.0 with their defaults, as its documentation gives them.
DOCUMENTED = """
task: detect, mode: train, model: null, data: null, epochs: 100, time: null, patience: 100, batch: 16, imgsz: 640,
save: true, save_period: -1, cache: false, device: null, workers: 8, project: null, name: null, exist_ok: false,
pretrained: true, optimizer: auto, verbose: true, seed: 0, deterministic: true, single_cls: false, rect: false,
cos_lr: false, close_mosaic: 10, resume: false, amp: true, fraction: 1.0, profile: false, freeze: null,
multi_scale: false, overlap_mask: true, mask_ratio: 4, dropout: 0.0, val: true, split: val, save_json: false,
save_hybrid: false, conf: null, iou: 0.7, max_det: 300, half: false, dnn: false, plots: true, source: null,
vid_stride: 1, stream_buffer: false, visualize: false, augment: false, agnostic_nms: false, classes: null,
retina_masks: false, embed: null, show: false, save_frames: false, save_txt: false, save_conf: false, save_crop: false,
show_labels: true, show_conf: true, show_boxes: true, line_width: null, format: torchscript, keras: false,
optimize: false, int8: false, dynamic: false, simplify: true, opset: null, workspace: 4, nms: false, lr0: 0.01,
lrf: 0.01, momentum: 0.937, weight_decay: 0.0005, warmup_epochs: 3.0, warmup_momentum: 0.8, warmup_bias_lr: 0.1,
box: 7.5, cls: 0.5, dfl: 1.5, pose: 12.0, kobj: 1.0, label_smoothing: 0.0, nbs: 64, hsv_h: 0.015, hsv_s: 0.7,
hsv_v: 0.4, degrees: 0.0, translate: 0.1, scale: 0.5, shear: 0.0, perspective: 0.0, flipud: 0.0, fliplr: 0.5, bgr: 0.0,
mosaic: 1.0, mixup: 0.0, copy_paste: 0.0, copy_paste_mode: flip, auto_augment: randaugment, erasing: 0.4,
crop_fraction: 1.0, cfg: null, tracker: botsort.yaml
"""
DISTILLATION = {"teacher": None, "distill_box": 1.0, "distill_cls": 0.25, "distill_feat": 0.25, "distill_temp": 1.0}
# What this package adds.
OWN = {"trust_modules": False, **DISTILLATION, "threads": None, "providers": None, "autosave": 10.0}
OWN |= {"ddp_timeout": 600.0, "box_loss": "ciou", "compile": False}
CHANGED = {"optimize": True}  # in 8.3.0 of TorchScript for phones; here of every format's graph, without loss


def test_keys_and_defaults_are_those_of_8_3_0():
    expected = yaml.safe_load("{" + DOCUMENTED + "}") | OWN | CHANGED
    assert expected == DEFAULTS
    assert {k: type(v) for k, v in DEFAULTS.items()} == {k: type(v) for k, v in expected.items()}


def test_default_yaml_is_written_from_the_schema():
    """Mend with: python ultralytics/cfg/schema.py."""
    assert Path(DEFAULT_CFG_PATH).read_text(encoding="utf-8") == default_yaml()
    assert yaml.safe_load(default_yaml()) == DEFAULTS


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_each_setting_is_well_declared(spec):
    assert set(spec.kinds) <= {"bool", "int", "float", "str", "list", "list[int]", "None", "Any"}
    assert spec.check(spec.default) == spec.default
    assert spec.modes and set(spec.modes) <= set(MODES)
    assert re.fullmatch(r"[A-Z].*[^.]\.", spec.help), "one sentence"
    assert len(spec.help) < 130


@pytest.mark.parametrize("spec", [s for s in SPECS.values() if None not in (s.lo, s.hi)], ids=lambda s: s.name)
def test_bounds_include_their_ends_and_nothing_beyond(spec):
    assert spec.check(spec.lo) == spec.lo
    assert spec.check(spec.hi) == spec.hi
    for value in (spec.lo - 0.01, spec.hi + 0.01, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=f"'{spec.name}' takes"):
            spec.check(value)


def test_dataclass_holds_the_defaults():
    assert vars(Settings()) == DEFAULTS
    assert Settings(epochs=3).epochs == 3


def test_help_lists_every_setting_and_those_of_a_mode():
    assert all(re.search(rf"^  {key}=", help_text(), re.M) for key in DEFAULTS)
    predict = help_text(mode="predict")
    assert "source=none" in predict and "lr0" not in predict


def test_help_of_one_setting():
    text = help_text(key="fraction")
    assert "a number above 0 up to 1" in text and "default 1.0" in text and "train" in text
