"""Small scripts as users write them for 8.3.0: each uses documented names only, and runs on either package.

`python tests/client_scripts.py [NAME ...]` runs them with whatever `ultralytics` is installed, in a folder of their
own, and prints which fail; the exit code is their number. `make_set(folder)` and `make_weights(file)` are there for
the scripts that need a set or weights.
"""

# ruff: noqa: E501  the scripts are dense, as they are many
from __future__ import annotations

import os
import sys
import tempfile
import textwrap
import traceback
from pathlib import Path

import cv2
import numpy as np

SLOW = {"plot_results", "train_an_epoch", "custom_dataset", "custom_trainer", "custom_validator"}  # seconds each

SCRIPTS = {
    # The package, settings, files ------------------------------------------------------------------------------------
    "dotted_names": """
        import ultralytics, torch
        torch.serialization.add_safe_globals([ultralytics.nn.tasks.DetectionModel])
        assert ultralytics.utils.ops.xywh2xyxy and ultralytics.__version__.split(".")[:2] == ["8", "3"]
    """,
    "settings": """
        from ultralytics import SETTINGS, settings
        from ultralytics.utils import RUNS_DIR, SETTINGS_FILE, DATASETS_DIR
        assert settings["runs_dir"] and settings is SETTINGS and "tensorboard" in settings
        assert str(SETTINGS_FILE).endswith(".json") and DATASETS_DIR
    """,
    "get_cfg": """
        from ultralytics.cfg import cfg2dict, get_cfg
        from ultralytics.utils import DEFAULT_CFG, DEFAULT_CFG_DICT
        args = get_cfg(DEFAULT_CFG, {"imgsz": 96, "epochs": 3})
        assert args.imgsz == 96 and args.lr0 == DEFAULT_CFG_DICT["lr0"] and cfg2dict(args)["epochs"] == 3
        assert dict(args)["mosaic"] == 1.0 and args.get("nothing", 7) == 7
    """,
    "words_of_a_command": """
        from ultralytics.cfg import merge_equals_args, parse_key_value_pair, smart_value
        assert merge_equals_args(["imgsz", "=", "64", "lr0=", "0.1"]) == ["imgsz=64", "lr0=0.1"]
        assert parse_key_value_pair("batch=8") == ("batch", 8)
        assert smart_value("none") is None and smart_value("0.5") == 0.5 and smart_value("abc") == "abc"
    """,
    "check_cfg": """
        from ultralytics.cfg import CFG_BOOL_KEYS, CFG_FLOAT_KEYS, CFG_FRACTION_KEYS, CFG_INT_KEYS, check_cfg
        cfg = {"epochs": "3", "lr0": "0.5", "box": "2.5"}
        check_cfg(cfg, hard=False)
        assert cfg == {"epochs": 3, "lr0": 0.5, "box": 2.5}
        assert "epochs" in CFG_INT_KEYS and "lr0" in CFG_FRACTION_KEYS and "box" in CFG_FLOAT_KEYS
        assert "exist_ok" in CFG_BOOL_KEYS
        try:
            check_cfg({"epochs": "three"}, hard=True)
        except (TypeError, ValueError):
            pass
        else:
            raise AssertionError
    """,
    "wrong_key": """
        from ultralytics.cfg import check_dict_alignment
        from ultralytics.utils import DEFAULT_CFG_DICT
        check_dict_alignment(DEFAULT_CFG_DICT, {"imgsz": 3})
        try:
            check_dict_alignment(DEFAULT_CFG_DICT, {"imgszz": 3})
        except Exception as e:
            assert "imgsz" in str(e)
        else:
            raise AssertionError
    """,
    "yaml": """
        from ultralytics.utils import yaml_load, yaml_save, yaml_print
        yaml_save("a.yaml", {"names": ["a", "b"], "nc": 2})
        assert yaml_load("a.yaml")["names"] == ["a", "b"]
        assert yaml_load("a.yaml", append_filename=True)["yaml_file"].endswith("a.yaml")
    """,
    "checks": """
        from ultralytics.utils.checks import (check_file, check_imgsz, check_model_file_from_stem, check_requirements,
            check_suffix, check_version, check_yaml, is_ascii)
        assert check_imgsz(100, stride=32) == 128 and check_imgsz([64, 96], min_dim=2) == [64, 96]
        assert check_version("2.1.0", ">=2.0") and not check_version(current="1.0", required="1.1")
        assert check_requirements("numpy", install=False) and is_ascii("abc") and not is_ascii("火")
        assert str(check_model_file_from_stem("yolo11n")) == "yolo11n.pt"
        assert check_yaml("default.yaml").endswith("default.yaml")
        assert check_file(file="nothing.txt", hard=False) in ("", [])
        check_suffix("a.pt", ".pt")
    """,
    "paths": """
        from pathlib import Path
        from ultralytics.utils.files import WorkingDirectory, file_size, get_latest_run, increment_path, spaces_in_path
        Path("runs/exp").mkdir(parents=True)
        assert increment_path("runs/exp", mkdir=True) == Path("runs/exp2")
        with WorkingDirectory("runs"):
            assert Path("exp2").is_dir()
        Path("a b.txt").write_text("x" * 2**20)
        with spaces_in_path("a b.txt") as plain:
            assert " " not in str(plain) and file_size(plain) == 1.0
            Path(plain).write_text("changed")
        assert Path("a b.txt").read_text() == "changed" and get_latest_run() == ""
    """,
    "archives": """
        from pathlib import Path
        from ultralytics.utils.downloads import delete_dsstore, is_url, safe_download, unzip_file, zip_directory
        Path("set/images").mkdir(parents=True)
        Path("set/images/a.txt").write_text("a")
        Path("set/.DS_Store").write_text("junk")
        file = zip_directory("set", progress=False)
        assert Path(file).name == "set.zip"
        folder = unzip_file(file, path="new", progress=False)
        assert [p.name for p in Path("new").rglob("*.txt")] == ["a.txt"] and Path(folder).is_dir()
        delete_dsstore("set")
        assert not Path("set/.DS_Store").exists() and is_url("https://a.b/c.zip") and not is_url("c.zip")
    """,
    "weight_names": """
        from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, GITHUB_ASSETS_STEMS, attempt_download_asset
        assert "yolo11n-seg" in GITHUB_ASSETS_STEMS and "yolov8x-pose.pt" in GITHUB_ASSETS_NAMES
        open("mine.pt", "wb").write(b"x")
        assert str(attempt_download_asset("mine.pt")).endswith("mine.pt")
    """,
    "helpers": """
        from ultralytics.utils import TQDM, SimpleClass, TryExcept, colorstr, emojis, get_default_args, threaded
        from ultralytics.utils import TESTS_RUNNING, is_online, get_git_branch, HELP_MSG, LOGGER, set_logging
        with TryExcept(verbose=False):
            raise ValueError
        assert threaded(lambda: 3)(threaded=False) == 3 and sum(TQDM(range(4), disable=True)) == 6
        assert get_default_args(lambda a, b=2: 0) == {"b": 2} and "x" in colorstr("red", "bold", "x")
        class Thing(SimpleClass):
            def __init__(self):
                self.size = 3
        assert "size: 3" in str(Thing()) and "yolo" in HELP_MSG.lower()
    """,
    "patches": """
        import numpy as np, torch
        from ultralytics.utils import imread, imwrite
        from ultralytics.utils.patches import torch_load, torch_save
        image = np.full((8, 9, 3), 77, np.uint8)
        assert imwrite("火.png", image) and (imread("火.png") == image).all() and imread("火.png", 0).ndim == 2
        torch_save({"a": torch.ones(2)}, "a.pt")
        assert torch_load("a.pt")["a"].sum() == 2
    """,
    # Boxes, masks, metrics -------------------------------------------------------------------------------------------
    "boxes": """
        import numpy as np, torch
        from ultralytics.utils import ops
        x = torch.tensor([[10.0, 20, 30, 60]])
        assert ops.xyxy2xywh(x).tolist() == [[20, 40, 20, 40]] and torch.equal(ops.xywh2xyxy(ops.xyxy2xywh(x)), x)
        assert ops.xyxy2ltwh(x.numpy()).tolist() == [[10, 20, 20, 40]]
        assert np.allclose(ops.xywhn2xyxy(np.array([[0.5, 0.5, 0.5, 0.5]]), 100, 80), [[25, 20, 75, 60]])
        assert ops.scale_boxes((64, 64), torch.tensor([[0.0, 16, 64, 48]]), (320, 640)).tolist() == [[0, 0, 640, 320]]
        assert ops.make_divisible(33, 8) == 40 and ops.clean_str("a?b") == "a_b"
    """,
    "nms": """
        import torch
        from ultralytics.utils.ops import non_max_suppression
        prediction = torch.zeros(1, 6, 3)
        prediction[0, :4] = torch.tensor([[50.0, 51, 200], [50, 50, 200], [20, 20, 30], [20, 20, 30]])
        prediction[0, 4] = torch.tensor([0.9, 0.8, 0.7])
        kept = non_max_suppression(prediction, conf_thres=0.25, iou_thres=0.5, max_det=10)[0]
        assert kept.shape == (2, 6) and kept[:, 4].tolist() == [0.8999999761581421, 0.699999988079071]
    """,
    "masks": """
        import numpy as np, torch
        from ultralytics.utils.ops import crop_mask, masks2segments, process_mask, scale_image, segments2boxes
        protos, coefficients = torch.ones(4, 16, 16), torch.ones(1, 4)
        mask = process_mask(protos, coefficients, torch.tensor([[8.0, 8, 40, 48]]), (64, 64), upsample=True)
        assert mask.shape == (1, 64, 64) and mask.sum() > 500
        segment = masks2segments(mask)[0]
        assert segment.shape[1] == 2 and segments2boxes([segment]).shape == (1, 4)
        assert scale_image(np.ones((64, 64, 1), np.float32), (32, 64)).shape[:2] == (32, 64)
        assert crop_mask(torch.ones(1, 8, 8), torch.tensor([[2.0, 2, 4, 4]])).sum() == 4
    """,
    "rotated_boxes": """
        import torch
        from ultralytics.utils.metrics import batch_probiou, probiou
        from ultralytics.utils.ops import regularize_rboxes, xywhr2xyxyxyxy, xyxyxyxy2xywhr
        box = torch.tensor([[50.0, 40, 30, 10, 0.3]])
        corners = xywhr2xyxyxyxy(box)
        assert corners.shape == (1, 4, 2) and torch.allclose(corners.mean(1), box[:, :2])
        back = regularize_rboxes(torch.as_tensor(xyxyxyxy2xywhr(corners.reshape(1, 8))))
        assert batch_probiou(box, back.float())[0, 0] > 0.95 and probiou(box, box).item() > 0.99
    """,
    "iou": """
        import torch
        from ultralytics.utils.metrics import bbox_iou, box_iou, mask_iou
        a, b = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]])
        assert abs(box_iou(a, b).item() - 1 / 3) < 1e-4 and abs(bbox_iou(a, b, xywh=False).item() - 1 / 3) < 1e-4
        assert bbox_iou(a, b, xywh=False, CIoU=True) < bbox_iou(a, b, xywh=False)
        assert mask_iou(torch.ones(1, 16), torch.ones(1, 16)).item() > 0.99
    """,
    "metrics": """
        import numpy as np, torch
        from ultralytics.utils.metrics import ConfusionMatrix, DetMetrics, ap_per_class
        metrics = DetMetrics(names={0: "a"}, plot=False)
        metrics.process(np.ones((3, 10), bool), np.array([0.9, 0.8, 0.7]), np.zeros(3), np.zeros(3))
        assert metrics.box.map > 0.9 and "metrics/mAP50(B)" in metrics.results_dict and metrics.fitness > 0.9
        matrix = ConfusionMatrix(nc=1, conf=0.25)
        matrix.process_batch(torch.tensor([[0.0, 0, 9, 9, 0.9, 0]]), torch.tensor([[0.0, 0, 9, 9]]), torch.zeros(1))
        assert matrix.matrix[0, 0] == 1
    """,
    # torch -----------------------------------------------------------------------------------------------------------
    "torch_utils": """
        import torch
        from torch import nn
        from ultralytics.utils.torch_utils import (EarlyStopping, ModelEMA, de_parallel, fuse_conv_and_bn, get_num_params,
            init_seeds, initialize_weights, intersect_dicts, is_parallel, one_cycle, select_device, time_sync)
        init_seeds(3)
        conv, bn, x = nn.Conv2d(3, 4, 3, bias=False).eval(), nn.BatchNorm2d(4).eval(), torch.rand(1, 3, 8, 8)
        assert torch.allclose(fuse_conv_and_bn(conv, bn)(x), bn(conv(x)), atol=1e-5)
        assert get_num_params(conv) == 108 and select_device("cpu").type == "cpu" and not is_parallel(conv)
        ema = ModelEMA(conv)
        ema.update(de_parallel(conv))
        assert ema.updates == 1 and intersect_dicts(conv.state_dict(), conv.state_dict()) and one_cycle(1, 0, 10)(10) == 0
        stopper = EarlyStopping(patience=2)
        assert [stopper(epoch, fitness) for epoch, fitness in enumerate([0.1, 0.3, 0.2, 0.1])][-1]
    """,
    "torch_versions": """
        import torch
        from ultralytics.utils.torch_utils import (TORCH_1_9, TORCH_1_13, TORCH_2_0, TORCHVISION_0_13, autocast,
            convert_optimizer_state_dict_to_fp16, get_flops, get_flops_with_torch_profiler, profile, smart_inference_mode)
        assert TORCH_1_9 and TORCH_1_13 and TORCH_2_0 and TORCHVISION_0_13
        with autocast(enabled=False):
            pass
        state = {"state": {0: {"step": torch.ones(1), "exp_avg": torch.ones(2)}}}
        assert convert_optimizer_state_dict_to_fp16(state)["state"][0]["exp_avg"].dtype == torch.float16
        @smart_inference_mode()
        def double(x):
            return 2 * x
        assert double(torch.ones(1)).item() == 2
    """,
    "model_info": """
        from ultralytics import YOLO
        from ultralytics.utils.torch_utils import get_flops, get_flops_with_torch_profiler, model_info
        model = YOLO("yolo11n.yaml").model
        layers, parameters, gradients, flops = model_info(model, imgsz=640)
        assert parameters == 2624080 and 6 < get_flops(model) < 7 and 6 < flops < 7
    """,
    # Drawing ---------------------------------------------------------------------------------------------------------
    "annotator": """
        import numpy as np
        from ultralytics.utils.plotting import Annotator, colors
        image = np.zeros((96, 128, 3), np.uint8)
        a = Annotator(image, line_width=2, example="abc")
        a.box_label((10, 20, 60, 70), "thing 0.9", color=colors(3, True))
        a.text((5, 5), "text")
        a.kpts(np.array([[20.0, 20, 1]] * 17), shape=(96, 128))
        a.circle_label((70, 30, 110, 60), "a", color=(0, 0, 255))
        a.text_label((70, 60, 110, 90), "b", color=(0, 255, 0))
        assert a.result().any() and a.get_bbox_dimension((1, 2, 4, 6)) == (3, 4, 12)
        assert len(a.get_txt_color((250, 250, 250), (255, 255, 255))) == 3
    """,
    "save_one_box": """
        import numpy as np, torch
        from pathlib import Path
        from ultralytics.utils.plotting import save_one_box
        crop = save_one_box(torch.tensor([10.0, 10, 40, 50]), np.full((64, 64, 3), 9, np.uint8), Path("x.jpg"), BGR=True)
        assert crop.shape[2] == 3 and Path("x.jpg").exists()
    """,
    "plot_images": """
        import torch
        from pathlib import Path
        from ultralytics.utils.plotting import output_to_target, plot_images
        images, found = torch.rand(2, 3, 64, 64), [torch.tensor([[5.0, 5, 30, 40, 0.9, 0]]), torch.zeros(0, 6)]
        plotted = plot_images(images, *output_to_target(found), paths=["a.jpg", "b.jpg"], fname="p.jpg", names={0: "a"})
        if hasattr(plotted, "join"):
            plotted.join()
        assert Path("p.jpg").exists()
    """,
    "plot_results": """
        from pathlib import Path
        from ultralytics.utils.plotting import plot_results
        names = ["train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/precision(B)", "metrics/recall(B)",
            "metrics/mAP50(B)", "metrics/mAP50-95(B)", "val/box_loss", "val/cls_loss", "val/dfl_loss"]
        rows = [", ".join(["epoch", "time", *names])] + [", ".join(f"{i + k / 9}" for k in range(12)) for i in range(4)]
        Path("results.csv").write_text("\\n".join(rows))
        plot_results(file="results.csv", segment=False, pose=False, classify=False, on_plot=None)
        assert Path("results.png").exists()
    """,
    "color_scatter": """
        import matplotlib, numpy as np
        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
        from ultralytics.utils.plotting import plt_color_scatter
        plt_color_scatter(np.random.rand(30), np.random.rand(30), bins=5, cmap="viridis", alpha=0.8, edgecolors="none")
        plt.close("all")
    """,
    # Results ---------------------------------------------------------------------------------------------------------
    "results": """
        import numpy as np, torch
        from ultralytics.engine.results import Results
        boxes = torch.tensor([[5.0, 5, 30, 40, 0.9, 0], [8, 8, 20, 20, 0.4, 1]])
        r = Results(np.zeros((64, 64, 3), np.uint8), path="a.jpg", names={0: "a", 1: "b"}, boxes=boxes)
        assert len(r) == 2 and r.boxes.xywh.shape == (2, 4) and r[r.boxes.conf > 0.5].boxes.cls.tolist() == [0]
        assert r.plot(line_width=1).shape == (64, 64, 3) and "a" in r.verbose() and '"name"' in r.tojson()
        r.save_txt("a.txt", save_conf=True)
        assert len(open("a.txt").read().split()) == 12 and r.cpu().numpy().boxes.data.shape == (2, 6)
    """,
    "kinds_of_results": """
        import numpy as np, torch
        from ultralytics.engine.results import OBB, Boxes, Keypoints, Masks, Probs
        assert Boxes(torch.zeros(2, 6), (64, 64)).xyxyn.shape == (2, 4)
        assert Masks(torch.ones(1, 64, 64), (64, 64)).xy[0].shape[1] == 2
        assert Keypoints(torch.ones(1, 17, 3), (64, 64)).xyn.shape == (1, 17, 2)
        assert Probs(torch.tensor([0.1, 0.7, 0.2])).top1 == 1
        assert OBB(torch.tensor([[32.0, 32, 20, 10, 0.1, 0.9, 0]]), (64, 64)).xyxyxyxy.shape == (1, 4, 2)
    """,
    # Images and labels -----------------------------------------------------------------------------------------------
    "letterbox": """
        import numpy as np
        from ultralytics.data.augment import LetterBox
        from ultralytics.utils.instance import Instances
        assert LetterBox((64, 64))(image=np.zeros((30, 60, 3), np.uint8)).shape == (64, 64, 3)
        labels = {"img": np.zeros((32, 64, 3), np.uint8), "cls": np.zeros((1, 1)),
            "instances": Instances(np.array([[0.5, 0.5, 1, 1]], np.float32), np.zeros((0, 1000, 2), np.float32))}
        labels = LetterBox((64, 64))(labels)
        labels["instances"].convert_bbox("xyxy")
        assert labels["instances"].bboxes.tolist() == [[0, 16, 64, 48]] and labels["img"].shape == (64, 64, 3)
    """,
    "instances": """
        import numpy as np
        from ultralytics.utils.instance import Instances
        boxes, points = np.array([[10, 20, 4, 6], [30, 40, 8, 0]], np.float32), np.zeros((2, 3, 3), np.float32)
        a = Instances(boxes, np.zeros((0, 1000, 2), np.float32), points, bbox_format="xywh", normalized=False)
        a.convert_bbox("xyxy")
        a.fliplr(64)
        assert a.bboxes[0].tolist() == [52, 17, 56, 23] and a.bbox_areas.tolist() == [24, 0]
        a.add_padding(2, 3)
        a.clip(56, 64)
        assert a.bboxes[0].tolist() == [54, 20, 56, 26]
        assert a.remove_zero_area_boxes().tolist() == [True, False] and len(a) == 1 and a.keypoints.shape == (1, 3, 3)
        a.normalize(64, 64)
        a.denormalize(64, 64)
        a.scale(2, 0.5)
        assert np.allclose(a.bboxes, [[108, 10, 112, 13]]) and len(Instances.concatenate([a, a])) == 2
        a.update(a.bboxes + 1)
        assert a[0].bboxes.tolist() == [[109, 11, 113, 14]]
    """,
    "bboxes": """
        import numpy as np
        from ultralytics.utils.instance import Bboxes, to_2tuple, to_4tuple
        b = Bboxes(np.array([[10, 20, 30, 60]], np.float32), format="xyxy")
        assert b.areas().tolist() == [800] and len(Bboxes.concatenate([b, b])) == 2
        b.convert("xywh")
        b.mul(2)
        b.add((1, 0, 0, 0))
        assert b.bboxes.tolist() == [[41, 80, 40, 80]] and b.format == "xywh"
        assert tuple(to_2tuple(3)) == (3, 3) and tuple(to_4tuple((1, 2, 3, 4))) == (1, 2, 3, 4)
    """,
    "format": """
        import numpy as np
        from ultralytics.data.augment import Compose, Format, LetterBox
        from ultralytics.utils.instance import Instances
        pipeline = Compose([LetterBox(new_shape=(64, 64)), Format(bbox_format="xyxy", normalize=False, batch_idx=True)])
        out = pipeline({"img": np.zeros((64, 64, 3), np.uint8), "cls": np.array([[2.0]]), "extra": "kept",
            "instances": Instances(np.array([[0.5, 0.5, 0.5, 0.25]], np.float32), np.zeros((0, 1000, 2), np.float32))})
        assert out["bboxes"].tolist() == [[16, 24, 48, 40]] and out["batch_idx"].tolist() == [0] and out["cls"].item() == 2
        assert out["img"].shape == (3, 64, 64) and out["extra"] == "kept"
    """,
    "own_transform": """
        import numpy as np
        from ultralytics.data import YOLODataset
        from ultralytics.data.augment import BaseTransform
        class Cut(BaseTransform):
            def __call__(self, labels):
                labels["img"][:8] = 0
                labels["instances"].convert_bbox("xyxy")
                h, w = labels["img"].shape[:2]
                labels["instances"].denormalize(w, h)
                keep = labels["instances"].bboxes[:, 1] > 8
                labels["instances"], labels["cls"] = labels["instances"][keep], labels["cls"][keep]
                return labels
        from ultralytics.cfg import get_cfg
        hyp = get_cfg(overrides={"mosaic": 0.0, "imgsz": 64})
        data = YOLODataset(img_path=make_set("set"), imgsz=64, hyp=hyp, data={"names": {0: "a", 1: "b"}}, task="detect")
        data.transforms.insert(0, Cut())
        data.transforms.insert(2, Cut())
        sample = data[0]
        assert len(sample["cls"]) == len(sample["bboxes"]) and sample["img"].shape == (3, 64, 64)
    """,
    "own_mix": """
        import numpy as np
        from ultralytics.data import YOLODataset
        from ultralytics.data.augment import BaseMixTransform, Format, LetterBox, Compose
        class Beside(BaseMixTransform):
            def get_indexes(self):
                return 1
            def _mix_transform(self, labels):
                other = labels["mix_labels"][0]
                labels["img"] = np.concatenate([labels["img"], other["img"]], 1)
                labels["resized_shape"] = labels["img"].shape[:2]
                return labels
        data = YOLODataset(img_path=make_set("set"), imgsz=64, augment=False, data={"names": {0: "a", 1: "b"}})
        data.transforms = Beside(data, pre_transform=None, p=1.0)
        assert data[0]["img"].shape == (64, 128, 3)
    """,
    "own_perspective": """
        import numpy as np, cv2
        from ultralytics.data.augment import RandomPerspective
        from ultralytics.utils.instance import Instances
        class Shift(RandomPerspective):
            def affine_transform(self, img, border):
                M = np.array([[1, 0, 10], [0, 1, 0], [0, 0, 1]], np.float32)
                return cv2.warpAffine(img, M[:2], dsize=self.size), M, 1.0
        labels = {"img": np.zeros((64, 64, 3), np.uint8), "cls": np.zeros((2, 1)), "instances": Instances(
            np.array([[8, 8, 24, 24], [50, 8, 62, 24]], np.float32), np.zeros((0, 1000, 2), np.float32), None, "xyxy", False)}
        out = Shift()(labels)
        out["instances"].convert_bbox("xyxy")
        assert out["instances"].bboxes.tolist() == [[18, 8, 34, 24], [60, 8, 64, 24]] and len(out["cls"]) == 2
    """,
    "perspective_methods": """
        import numpy as np
        from ultralytics.data.augment import RandomPerspective
        t = RandomPerspective()
        t.size = (64, 64)
        M = np.array([[1, 0, 4], [0, 1, 0], [0, 0, 1]], np.float32)
        boxes = np.array([[8, 8, 24, 24]], np.float32)
        assert t.apply_bboxes(boxes, M).tolist() == [[12, 8, 28, 24]]
        assert t.apply_keypoints(np.array([[[8, 8, 2], [62, 8, 2]]], np.float32), M)[0, :, 2].tolist() == [2, 0]
        assert t.box_candidates(boxes.T, boxes.T * 0.1, area_thr=0.1).tolist() == [False]
    """,
    "own_mosaic_indexes": """
        from ultralytics.data import YOLODataset
        from ultralytics.data.augment import Compose, Mosaic, Format
        class Fixed(Mosaic):
            asked = 0
            def get_indexes(self, buffer=True):
                Fixed.asked += 1
                return [1, 2, 3]
        data = YOLODataset(img_path=make_set("set"), imgsz=64, augment=True, data={"names": {0: "a", 1: "b"}})
        data.transforms = Compose([Fixed(data, imgsz=64, p=1.0), Format()])
        sample = data[0]
        assert sample["img"].shape == (3, 128, 128) and Fixed.asked == 1
    """,
    "own_build_transforms": """
        import numpy as np, random
        from ultralytics.cfg import get_cfg
        from ultralytics.data import YOLODataset, build_dataloader
        from ultralytics.data.augment import Compose, Format, LetterBox, RandomFlip, RandomHSV
        class Mine(YOLODataset):
            def build_transforms(self, hyp=None):
                return Compose([LetterBox(new_shape=(self.imgsz, self.imgsz)), RandomHSV(hgain=0.0, sgain=0.0, vgain=0.0),
                    RandomFlip(p=1.0, direction="horizontal"), Format(bbox_format="xywh", normalize=True,
                    return_mask=self.use_segments, return_keypoint=self.use_keypoints, return_obb=self.use_obb,
                    batch_idx=True, mask_ratio=hyp.mask_ratio, mask_overlap=hyp.overlap_mask, bgr=0.0)])
        data = Mine(img_path=make_set("set"), imgsz=64, hyp=get_cfg(), data={"names": {0: "a", 1: "b"}}, task="detect")
        batch = next(iter(build_dataloader(data, 4, 0, shuffle=False, rank=-1)))
        assert batch["img"].shape == (4, 3, 64, 64) and len(batch["bboxes"]) == len(batch["cls"]) == len(batch["batch_idx"])
    """,
    "own_labels": """
        from ultralytics.data import YOLODataset
        class Mine(YOLODataset):
            def get_labels(self):
                labels = super().get_labels()
                for label in labels:
                    label["cls"][:] = 1
                return labels
            def update_labels_info(self, label):
                assert label["bboxes"].max() <= 1 and "img" in label
                label = super().update_labels_info(label)
                assert len(label["instances"]) == len(label["cls"])
                return label
        data = Mine(img_path=make_set("set"), imgsz=64, augment=False, data={"names": {0: "a", 1: "b"}})
        assert data[0]["cls"].unique().tolist() == [1] and data.labels[0]["bbox_format"] == "xywh"
    """,
    "own_base_dataset": """
        import numpy as np, cv2
        from ultralytics.data import BaseDataset
        from ultralytics.data.augment import Compose, Format, LetterBox
        class Plain(BaseDataset):
            def get_labels(self):
                found = []
                for file in self.im_files:
                    h, w = cv2.imread(file).shape[:2]
                    found.append(dict(im_file=file, shape=(h, w), cls=np.zeros((1, 1), np.float32), segments=[],
                        bboxes=np.array([[w / 4, h / 4, w / 2, h / 2]], np.float32), keypoints=None, normalized=False,
                        bbox_format="xyxy"))
                return found
            def update_labels_info(self, label):
                from ultralytics.utils.instance import Instances
                h, w = label["img"].shape[:2]
                segments, keypoints = label.pop("segments"), label.pop("keypoints")
                bboxes, fmt, normalized = label.pop("bboxes"), label.pop("bbox_format"), label.pop("normalized")
                bboxes = bboxes * (np.array([w, h, w, h]) / np.array([*label["ori_shape"][::-1]] * 2))
                segments = np.zeros((0, 1000, 2), np.float32)
                label["instances"] = Instances(bboxes.astype(np.float32), segments, keypoints, fmt, normalized)
                return label
            def build_transforms(self, hyp=None):
                return Compose([LetterBox((64, 64)), Format()])
        data = Plain(img_path=make_set("set"), imgsz=64, augment=False)
        sample = data[0]
        assert len(data) == 4 and sample["bboxes"].shape == (1, 4) and 0.1 < sample["bboxes"][0, 2] < 0.3
    """,
    "loader_of_torch_kind": """
        import torch
        from ultralytics.data import YOLODataset
        from ultralytics.data.build import InfiniteDataLoader, seed_worker
        data = YOLODataset(img_path=make_set("set"), imgsz=64, augment=False, data={"names": {0: "a", 1: "b"}})
        loader = InfiniteDataLoader(dataset=data, batch_size=2, shuffle=False, num_workers=0, pin_memory=False,
            collate_fn=data.collate_fn, worker_init_fn=seed_worker, generator=torch.Generator())
        assert len(loader) == 2 and [len(batch["im_file"]) for batch in loader] == [2, 2]
        order = torch.utils.data.SequentialSampler(data)
        assert len(list(InfiniteDataLoader(data, batch_size=3, sampler=order, collate_fn=data.collate_fn))) == 2
    """,
    "sources": """
        import numpy as np, torch
        from PIL import Image
        from ultralytics.data import load_inference_source
        from ultralytics.data.build import check_source
        from ultralytics.data.loaders import LoadImagesAndVideos, LoadPilAndNumpy, LoadTensor, SourceTypes
        folder = make_set("set")
        assert isinstance(load_inference_source(folder), LoadImagesAndVideos)
        assert isinstance(load_inference_source(np.zeros((32, 32, 3), np.uint8)), LoadPilAndNumpy)
        paths, images, texts = next(iter(load_inference_source(Image.new("RGB", (32, 64)))))
        assert images[0].shape == (64, 32, 3)
        source, webcam, screenshot, from_img, in_memory, tensor = check_source("rtsp://a/b")
        assert webcam and not tensor and check_source(np.zeros((2, 2, 3)))[3] and check_source(torch.zeros(1))[5]
        assert load_inference_source(folder).source_type == SourceTypes(False, False, False, False)
    """,
    "label_tools": """
        import numpy as np
        from ultralytics.data.utils import (IMG_FORMATS, VID_FORMATS, FORMATS_HELP_MSG, HELP_URL, PIN_MEMORY, get_hash,
            img2label_paths, polygon2mask, polygons2masks_overlap)
        assert img2label_paths(["a/images/x.jpg"]) == ["a/labels/x.txt"] and "jpg" in IMG_FORMATS and "mp4" in VID_FORMATS
        square = np.array([[8, 8], [24, 8], [24, 24], [8, 24]], np.float32)
        assert 250 < polygon2mask((32, 32), [square.reshape(-1)], 1).sum() < 300
        assert polygons2masks_overlap((32, 32), [square], 1)[0].max() == 1
        assert len(get_hash(["nothing"])) == 64 and PIN_MEMORY in (True, False)
    """,
    "dataset_cache": """
        import numpy as np
        from pathlib import Path
        from ultralytics.data.utils import load_dataset_cache_file, save_dataset_cache_file
        x = {"labels": [{"im_file": "a.jpg", "cls": np.ones((2, 1), np.float32), "shape": (3, 4)}], "hash": "h"}
        save_dataset_cache_file("train: ", Path("labels.cache"), x, "1.0.3")
        back = load_dataset_cache_file(Path("labels.cache"))
        assert back["labels"][0]["cls"].sum() == 2 and back["version"] == "1.0.3" and back["hash"] == "h"
        try:
            load_dataset_cache_file(Path("nothing.cache"))
        except FileNotFoundError:
            pass
    """,
    "dataset_yaml": """
        from pathlib import Path
        from ultralytics.data.utils import autosplit, check_det_dataset, find_dataset_yaml
        make_set("set")
        Path("set/set.yaml").write_text("path: .\\ntrain: images\\nval: images\\nnames: [a, b]\\n")
        assert find_dataset_yaml(Path("set")).name == "set.yaml"
        Path("here.yaml").write_text(f"path: {Path('set').resolve()}\\ntrain: images\\nval: images\\nnames: [a, b]\\n")
        data = check_det_dataset("here.yaml")
        assert data["nc"] == 2 and data["names"] == {0: "a", 1: "b"}
        autosplit(Path("set/images"), weights=(0.5, 0.5, 0.0))
        assert Path("set/autosplit_train.txt").exists() or Path("set/autosplit_val.txt").exists()
    """,
    "converters": """
        import numpy as np
        from ultralytics.data.converter import coco91_to_coco80_class, coco80_to_coco91_class, merge_multi_segment, min_index
        assert len(coco91_to_coco80_class()) == 91 and coco80_to_coco91_class()[79] == 90
        assert min_index(np.array([[0, 0], [5, 5]]), np.array([[6, 6], [9, 9]])) == (1, 0)
        assert len(merge_multi_segment([[0, 0, 4, 0, 4, 4], [6, 6, 9, 6, 9, 9]])) >= 1
    """,
    "tiles": """
        import numpy as np
        from ultralytics.data.split_dota import bbox_iof, get_window_obj, get_windows
        windows = get_windows((1500, 1024), crop_sizes=(1024,), gaps=(200,))
        assert windows.tolist() == [[0, 0, 1024, 1024], [0, 476, 1024, 1500]]
        rows = np.array([[0, 0.1, 0.1, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2]], np.float32)
        found = get_window_obj({"ori_size": (1500, 1024), "label": rows.copy()}, windows)
        assert [len(f) for f in found] == [1, 0]
        assert np.allclose(bbox_iof(np.array([[0, 0, 10, 0, 10, 10, 0, 10]], float), np.array([[5, 0, 20, 20.0]])), 0.5)
    """,
    "classify_transforms": """
        import numpy as np
        from PIL import Image
        from ultralytics.data.augment import (CenterCrop, ClassifyLetterBox, DEFAULT_MEAN, ToTensor, classify_augmentations,
            classify_transforms)
        image = np.random.randint(0, 255, (40, 80, 3), np.uint8)
        assert ClassifyLetterBox((64, 64))(image).shape == (64, 64, 3) and CenterCrop(32)(image).shape == (32, 32, 3)
        assert ToTensor()(image).shape == (3, 40, 80) and ToTensor()(image).max() <= 1
        assert classify_transforms(64)(Image.fromarray(image)).shape == (3, 64, 64)
        assert classify_augmentations(64, auto_augment="randaugment")(Image.fromarray(image)).shape == (3, 64, 64)
    """,
    # Trackers --------------------------------------------------------------------------------------------------------
    "tracker": """
        import numpy as np
        from types import SimpleNamespace
        from ultralytics.trackers import BYTETracker
        args = SimpleNamespace(track_high_thresh=0.5, track_low_thresh=0.1, new_track_thresh=0.6, track_buffer=30,
            match_thresh=0.8, fuse_score=True)
        tracker = BYTETracker(args, frame_rate=30)
        class Found:
            conf, cls = np.array([0.9, 0.8]), np.array([0, 1])
            xywh = np.array([[50.0, 50, 20, 30], [120, 60, 30, 30]])
        for _ in range(3):
            rows = tracker.update(Found(), None)
        assert rows.shape == (2, 8) and sorted(rows[:, 4]) == [1, 2] and len(tracker.tracked_stracks) == 2
        tracker.reset()
        assert tracker.frame_id == 0 and not tracker.tracked_stracks
    """,
    "track": """
        import numpy as np
        from ultralytics.trackers.basetrack import BaseTrack, TrackState
        from ultralytics.trackers.byte_tracker import STrack
        from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYAH
        BaseTrack.reset_id()
        kalman, track = KalmanFilterXYAH(), STrack(xywh=np.array([50.0, 50, 20, 30, 0]), score=0.9, cls=1)
        track.activate(kalman, frame_id=1)
        STrack.multi_predict([track])
        track.update(STrack(np.array([52.0, 50, 20, 30, 0]), 0.8, 1), frame_id=2)
        assert track.track_id == 1 and track.state == TrackState.Tracked and abs(track.xywh[0] - 52) < 2
        track.mark_lost()
        track.predict()
        track.re_activate(STrack(np.array([53.0, 50, 20, 30, 0]), 0.8, 1), 3, new_id=True)
        assert track.track_id == 2 and track.end_frame == 3 and track.tlwh_to_xyah(np.array([0.0, 0, 4, 2])).tolist() == [2, 1, 2, 2]
    """,
    "own_tracker": """
        import numpy as np
        from types import SimpleNamespace
        from ultralytics.trackers.bot_sort import BOTSORT, BOTrack
        from ultralytics.trackers.utils import matching
        class Mine(BOTSORT):
            def init_track(self, dets, scores, cls, img=None):
                return [BOTrack(d, s, c, np.eye(3)[int(c)]) for d, s, c in zip(dets, scores, cls)]
            def get_dists(self, tracks, detections):
                return matching.embedding_distance(tracks, detections)
        args = SimpleNamespace(track_high_thresh=0.5, track_low_thresh=0.1, new_track_thresh=0.6, track_buffer=30,
            match_thresh=0.8, fuse_score=True, gmc_method="none", proximity_thresh=0.5, appearance_thresh=0.25, with_reid=False)
        tracker = Mine(args)
        class Found:
            conf, cls, xywh = np.array([0.9, 0.8]), np.array([0, 1]), np.array([[20.0, 20, 10, 10], [90, 90, 10, 10]])
        first = tracker.update(Found(), np.zeros((100, 100, 3), np.uint8))
        Found.xywh = Found.xywh[::-1]
        second = tracker.update(Found(), np.zeros((100, 100, 3), np.uint8))
        assert dict(first[:, [6, 4]].tolist()) == dict(second[:, [6, 4]].tolist())
    """,
    "matching": """
        import numpy as np
        from ultralytics.trackers.utils.matching import embedding_distance, fuse_score, iou_distance, linear_assignment
        matches, rows, columns = linear_assignment(np.array([[0.1, 0.9], [0.8, 0.2]], np.float32), 0.5, use_lap=True)
        assert sorted(map(tuple, np.asarray(matches).tolist())) == [(0, 0), (1, 1)]
    """,
    "kalman": """
        import numpy as np
        from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYAH, KalmanFilterXYWH
        for kalman in (KalmanFilterXYAH(), KalmanFilterXYWH()):
            mean, covariance = kalman.initiate(np.array([50.0, 50, 1, 30]))
            mean, covariance = kalman.predict(mean, covariance)
            near, far = kalman.gating_distance(mean, covariance, np.array([[50.0, 50, 1, 30], [80, 50, 1, 30]]))
            assert near < 1e-6 < far
            assert kalman.gating_distance(mean, covariance, np.array([[53.0, 54, 1, 30]]), True, "gaussian").tolist() == [25]
    """,
    "gmc": """
        import numpy as np
        from ultralytics.trackers.utils.gmc import GMC
        frame = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        gmc = GMC(method="sparseOptFlow", downscale=2)
        assert gmc.apply(frame).shape == (2, 3) and np.allclose(gmc.applySparseOptFlow(frame), np.eye(2, 3), atol=0.1)
        gmc.reset_params()
    """,
    # Models ----------------------------------------------------------------------------------------------------------
    "predict": """
        import numpy as np
        from ultralytics import YOLO
        model = YOLO("yolo11n.yaml")
        seen = []
        model.add_callback(event="on_predict_end", func=lambda predictor: seen.append(predictor))
        r = model.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, conf=0.01, verbose=False)[0]
        assert r.orig_shape == (64, 64) and r.names[0] and r.boxes is not None and len(seen) == 1
    """,
    "register_tracker": """
        import numpy as np
        from ultralytics import YOLO
        from ultralytics.trackers import register_tracker
        model = YOLO("yolo11n.yaml")
        register_tracker(model, persist=True)
        model.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
        assert len(model.predictor.trackers) == 1
    """,
    "loss_of_a_batch": """
        import torch
        from ultralytics.cfg import get_cfg
        from ultralytics.nn.tasks import DetectionModel
        model = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
        model.args = get_cfg()
        batch = {"img": torch.rand(2, 3, 64, 64), "batch_idx": torch.tensor([0.0, 1]), "cls": torch.tensor([[0.0], [1]]),
            "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.3, 0.2, 0.2]])}
        loss, items = model.train()(batch)
        loss.sum().backward()
        assert items.shape == (3,) and model.model[0].conv.weight.grad.abs().sum() > 0
    """,
    "custom_loss": """
        import torch
        from ultralytics.cfg import get_cfg
        from ultralytics.nn.tasks import DetectionModel
        from ultralytics.utils.loss import v8DetectionLoss
        class Loss(v8DetectionLoss):
            def __init__(self, model, tal_topk=10):
                super().__init__(model, tal_topk)
                assert self.use_dfl and self.bce and self.assigner and self.bbox_loss and len(self.proj) == 16
            def __call__(self, preds, batch):
                loss, items = super().__call__(preds, batch)
                return 2 * loss, items
        class Model(DetectionModel):
            def init_criterion(self):
                return Loss(self)
        model = Model("yolo11n.yaml", nc=2, verbose=False)
        model.args = get_cfg()
        batch = {"img": torch.rand(1, 3, 64, 64), "batch_idx": torch.zeros(1), "cls": torch.zeros(1, 1),
            "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])}
        loss, items = model.train()(batch)
        assert abs(loss.sum().item() - 2 * items.sum().item()) < 1e-3
    """,
    "patched_iou": """
        import torch
        import ultralytics.utils.loss as losses
        from ultralytics.utils.loss import BboxLoss
        calls, original = [], losses.bbox_iou
        losses.bbox_iou = lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs)
        try:
            loss, n = BboxLoss(reg_max=16), 3
            boxes = torch.tensor([[[8.0, 8, 24, 24]] * n])
            iou, dfl = loss(torch.rand(1, n, 64), boxes, torch.rand(n, 2), boxes + 1, torch.ones(1, n, 2),
                torch.tensor(3.0), torch.ones(1, n, dtype=torch.bool))
        finally:
            losses.bbox_iou = original
        assert calls and 0 < iou < 1 and dfl > 0
    """,
    "custom_assigner": """
        import torch
        from ultralytics.utils.tal import TaskAlignedAssigner
        class Mine(TaskAlignedAssigner):
            def iou_calculation(self, gt_bboxes, pd_bboxes):
                return super().iou_calculation(gt_bboxes, pd_bboxes).pow(2)
        points = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), -1).reshape(-1, 2) * 16 + 8
        found = Mine(topk=3, num_classes=2)(torch.rand(1, 16, 2), torch.rand(1, 16, 4) * 32 + torch.tensor([0.0, 0, 32, 32]),
            points, torch.zeros(1, 1, 1), torch.tensor([[[4.0, 4, 40, 40]]]), torch.ones(1, 1, 1))
        assert len(found) == 5 and found[3].dtype == torch.bool
    """,
    "own_module": """
        import ultralytics.nn.tasks as tasks
        from ultralytics.nn.modules import C2f, Conv
        class C2f_Mine(C2f):
            pass
        original = tasks.C2f
        tasks.C2f = C2f_Mine
        try:
            model = tasks.DetectionModel("yolov8n.yaml", verbose=False)
        finally:
            tasks.C2f = original
        assert any(isinstance(m, C2f_Mine) for m in model.modules())
        assert sum(p.numel() for p in model.parameters()) == sum(
            p.numel() for p in tasks.DetectionModel("yolov8n.yaml", verbose=False).parameters())
    """,
    "modules": """
        import torch
        from ultralytics.nn.modules import C2f, C3, C3k2, CBAM, Conv, DWConv, GhostConv, RepConv, SPPF, C2PSA, Focus
        x = torch.rand(1, 16, 8, 8)
        for module in (Conv(16, 32, 3, 1), DWConv(16, 32, 3), GhostConv(16, 32), C2f(16, 32), C3(16, 32), C3k2(16, 32),
            SPPF(16, 32), RepConv(16, 32), Focus(16, 32)):
            assert module.eval()(x).shape[1] == 32
        assert CBAM(16).eval()(x).shape == x.shape and C2PSA(128, 128).eval()(torch.rand(1, 128, 4, 4)).shape == (1, 128, 4, 4)
    """,
    "parse_model": """
        from ultralytics.nn.tasks import guess_model_scale, guess_model_task, parse_model, yaml_model_load
        cfg = yaml_model_load("yolo11s.yaml")
        model, save = parse_model(cfg, ch=3, verbose=False)
        assert cfg["scale"] == "s" == guess_model_scale("yolo11s.yaml") and len(model) == 24 and guess_model_task(cfg) == "detect"
    """,
    "save_and_load": """
        from ultralytics import YOLO
        from ultralytics.nn.tasks import attempt_load_one_weight, attempt_load_weights
        make_weights("mine.pt")
        model, ckpt = attempt_load_one_weight("mine.pt")
        assert model.names and "model" in ckpt and attempt_load_weights("mine.pt", fuse=True).names
        model = YOLO("mine.pt")
        model.save("again.pt")
        assert sum(p.numel() for p in YOLO("again.pt").model.parameters()) == 2624080
    """,
    "backend": """
        import torch
        from ultralytics import YOLO
        from ultralytics.nn.autobackend import AutoBackend, check_class_names
        make_weights("mine.pt")
        backend = AutoBackend(weights="mine.pt", device=torch.device("cpu"), dnn=False, data=None, fp16=False, batch=1,
            fuse=True, verbose=False)
        y = backend(torch.zeros(1, 3, 64, 64))
        assert (y[0] if isinstance(y, (list, tuple)) else y).shape[:2] == (1, 84) and check_class_names(["a"]) == {0: "a"}
    """,
    "export_formats": """
        from ultralytics.engine.exporter import Exporter, export_formats
        table = export_formats()
        assert "onnx" in list(table["Argument"]) and ".onnx" in list(table["Suffix"])
    """,
    "callbacks": """
        from ultralytics.utils import callbacks
        from ultralytics.utils.callbacks.base import default_callbacks, get_default_callbacks
        found = get_default_callbacks()
        assert "on_train_epoch_end" in found and "on_predict_batch_end" in default_callbacks
        callbacks.add_integration_callbacks
    """,
    "custom_predictor": """
        import numpy as np
        from ultralytics import YOLO
        from ultralytics.models.yolo.detect import DetectionPredictor
        class Mine(DetectionPredictor):
            def postprocess(self, preds, img, orig_imgs):
                results = super().postprocess(preds, img, orig_imgs)
                for r in results:
                    r.mine = True
                return results
        model = YOLO("yolo11n.yaml")
        mine = Mine(overrides=dict(imgsz=64, verbose=False, save=False))
        r = model.predict(np.zeros((64, 64, 3), np.uint8), predictor=mine)[0]
        assert r.mine and isinstance(model.predictor, Mine)
    """,
    # Trainings, of some seconds each ---------------------------------------------------------------------------------
    "train_an_epoch": """
        from pathlib import Path
        from ultralytics import YOLO
        make_set("set")
        Path("data.yaml").write_text(f"path: {Path('set').resolve()}\\ntrain: images\\nval: images\\nnames: [a, b]\\n")
        model = YOLO("yolo11n.yaml")
        epochs = []
        model.add_callback("on_train_epoch_end", lambda trainer: epochs.append(trainer.epoch))
        model.train(data="data.yaml", epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False, project="runs")
        assert epochs == [0] and Path(model.trainer.best).exists() and "metrics/mAP50(B)" in model.metrics.results_dict
    """,
    "custom_dataset": """
        from pathlib import Path
        from ultralytics.data import YOLODataset
        from ultralytics.models.yolo.detect import DetectionTrainer
        from ultralytics.utils import DEFAULT_CFG
        make_set("set")
        Path("data.yaml").write_text(f"path: {Path('set').resolve()}\\ntrain: images\\nval: images\\nnames: [a, b]\\n")
        called = set()
        class Data(YOLODataset):
            def get_labels(self):
                called.add("labels")
                return super().get_labels()
            def update_labels_info(self, label):
                called.add("info")
                return super().update_labels_info(label)
            def build_transforms(self, hyp=None):
                called.add("transforms")
                transforms = super().build_transforms(hyp)
                transforms.insert(0, lambda labels: called.add(len(labels["instances"])) or labels)
                return transforms
        class Mine(DetectionTrainer):
            def build_dataset(self, img_path, mode="train", batch=None):
                return Data(img_path=img_path, imgsz=self.args.imgsz, batch_size=batch or 1, augment=mode == "train",
                    hyp=self.args, rect=False, data=self.data, task="detect")
        args = dict(model="yolo11n.yaml", data="data.yaml", epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False,
            project="runs", val=False)
        Mine(cfg=DEFAULT_CFG, overrides=args).train()
        assert called == {"labels", "info", "transforms", 1}
    """,
    "custom_trainer": """
        from pathlib import Path
        from ultralytics.models.yolo.detect import DetectionTrainer
        from ultralytics.utils import DEFAULT_CFG
        make_set("set")
        Path("data.yaml").write_text(f"path: {Path('set').resolve()}\\ntrain: images\\nval: images\\nnames: [a, b]\\n")
        class Mine(DetectionTrainer):
            called = set()
            def get_model(self, cfg=None, weights=None, verbose=True):
                Mine.called.add("model")
                return super().get_model(cfg, weights, verbose)
            def preprocess_batch(self, batch):
                Mine.called.add("batch")
                return super().preprocess_batch(batch)
            def build_optimizer(self, model, name="auto", lr=0.001, momentum=0.9, decay=1e-5, iterations=1e5):
                Mine.called.add("optimizer")
                return super().build_optimizer(model, "SGD", lr, momentum, decay, iterations)
        args = dict(model="yolo11n.yaml", data="data.yaml", epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False,
            project="runs", val=False)
        trainer = Mine(cfg=DEFAULT_CFG, overrides=args)
        trainer.train()
        assert Mine.called == {"model", "batch", "optimizer"} and type(trainer.optimizer).__name__ == "SGD"
    """,
    "custom_validator": """
        from pathlib import Path
        from ultralytics import YOLO
        from ultralytics.models.yolo.detect import DetectionValidator
        make_set("set")
        Path("data.yaml").write_text(f"path: {Path('set').resolve()}\\ntrain: images\\nval: images\\nnames: [a, b]\\n")
        class Mine(DetectionValidator):
            called = set()
            def _process_batch(self, detections, gt_bboxes, gt_cls):
                Mine.called.add("process")
                return super()._process_batch(detections, gt_bboxes, gt_cls)
            def postprocess(self, preds):
                Mine.called.add("postprocess")
                return super().postprocess(preds)
        make_weights("mine.pt")
        YOLO("mine.pt").val(validator=Mine, data="data.yaml", imgsz=64, batch=2, workers=0, device="cpu", plots=False,
            conf=1e-6, project="runs")
        assert Mine.called == {"process", "postprocess"}
    """,
}


def make_set(folder: str, n: int = 4) -> str:
    """Write n images of a white rectangle each, with labels of classes 0 and 1; return the folder of images."""
    for kind in ("images", "labels"):
        Path(folder, kind).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        image, x = np.full((64, 64, 3), 30, np.uint8), 4 + 6 * i
        image[10:50, x : x + 30] = 240
        cv2.imwrite(f"{folder}/images/{i}.png", image)
        Path(folder, "labels", f"{i}.txt").write_text(f"{i % 2} {(x + 15) / 64} {30 / 64} {30 / 64} {40 / 64}\n")
    return str(Path(folder, "images").resolve())


def make_weights(file: str) -> None:
    """Write a weight file of an untrained model, as the package that is installed writes them."""
    import torch

    from ultralytics import YOLO

    model = YOLO("yolo11n.yaml")
    try:
        model.save(file)
    except TypeError:  # 8.3.0 saves only what it has loaded
        torch.save({"model": model.model.half(), "train_args": {}}, file)


def run(name: str, folder: str | Path) -> None:
    """Run one script in a folder of its own."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        code = compile(textwrap.dedent(SCRIPTS[name]), f"<{name}>", "exec")
        exec(code, {"__name__": "__main__", "make_set": make_set, "make_weights": make_weights})
    finally:
        os.chdir(before)


def main(names: list[str]) -> int:
    """Run scripts one after the other; return how many fail."""
    failed = 0
    for name in names or SCRIPTS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                run(name, folder)
                print(f"ok      {name}", flush=True)
            except Exception as e:
                failed += 1
                line = traceback.extract_tb(e.__traceback__)[-1]
                print(f"FAILED  {name}: {type(e).__name__}: {e} ({line.filename}:{line.lineno})", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
