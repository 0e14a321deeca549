"""Every public name that scripts written for 8.3.0 import, from where they import it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# What detection and the shared code bring.
HERE = {
    "ultralytics": "YOLO ASSETS settings checks download __version__",
    "ultralytics.models": "YOLO",
    "ultralytics.models.yolo": "YOLO detect",
    "ultralytics.models.yolo.model": "YOLO",
    "ultralytics.models.yolo.detect": "DetectionTrainer DetectionValidator DetectionPredictor",
    "ultralytics.models.yolo.detect.train": "DetectionTrainer",
    "ultralytics.models.yolo.detect.val": "DetectionValidator",
    "ultralytics.models.yolo.detect.predict": "DetectionPredictor",
    "ultralytics.engine.model": "Model",
    "ultralytics.engine.trainer": "BaseTrainer",
    "ultralytics.engine.validator": "BaseValidator",
    "ultralytics.engine.predictor": "BasePredictor",
    "ultralytics.engine.results": "Results Boxes BaseTensor",
    "ultralytics.engine.tuner": "Tuner",
    "ultralytics.nn": "register DetectionModel BaseModel parse_model yaml_model_load guess_model_task "
    "guess_model_scale attempt_load_weights attempt_load_one_weight",
    "ultralytics.nn.tasks": "BaseModel DetectionModel parse_model yaml_model_load guess_model_task guess_model_scale "
    "attempt_load_weights attempt_load_one_weight",
    "ultralytics.nn.autobackend": "AutoBackend",
    "ultralytics.nn.modules": "Conv DWConv ConvTranspose Concat GhostConv GhostBottleneck Bottleneck C2f C3 C3k C3k2 "
    "C3Ghost SPPF PSA PSABlock C2PSA Attention DFL Detect",
    "ultralytics.nn.modules.conv": "Conv DWConv ConvTranspose Concat GhostConv autopad",
    "ultralytics.nn.modules.block": "Bottleneck C2f C3 C3k C3k2 C3Ghost SPPF C2PSA DFL",
    "ultralytics.nn.modules.head": "Detect",
    "ultralytics.cfg": "get_cfg cfg2dict TASKS MODES TASK2DATA TASK2MODEL TASK2METRIC MODELS smart_value "
    "copy_default_cfg check_dict_alignment check_cfg entrypoint get_save_dir DEFAULT_CFG DEFAULT_CFG_DICT "
    "DEFAULT_CFG_PATH",
    "ultralytics.data": "build_yolo_dataset build_dataloader load_inference_source YOLODataset",
    "ultralytics.data.build": "build_yolo_dataset build_dataloader load_inference_source InfiniteDataLoader",
    "ultralytics.data.dataset": "YOLODataset",
    "ultralytics.data.loaders": "LoadImagesAndVideos LoadStreams LoadPilAndNumpy LoadTensor SourceTypes autocast_list",
    "ultralytics.data.augment": "Compose LetterBox Mosaic MixUp RandomPerspective RandomHSV RandomFlip Format "
    "v8_transforms",
    "ultralytics.data.utils": "check_det_dataset img2label_paths verify_image_label verify_image exif_size "
    "IMG_FORMATS VID_FORMATS",
    "ultralytics.utils": "LOGGER ROOT ASSETS SETTINGS DEFAULT_CFG DEFAULT_CFG_DICT DEFAULT_CFG_KEYS DEFAULT_CFG_PATH "
    "yaml_load yaml_save yaml_print colorstr IterableSimpleNamespace TQDM RANK LOCAL_RANK NUM_THREADS VERBOSE "
    "LOGGING_NAME MACOS LINUX WINDOWS ARM64 PYTHON_VERSION TORCH_VERSION TORCHVISION_VERSION AUTOINSTALL ONLINE "
    "IS_COLAB IS_KAGGLE IS_JUPYTER IS_DOCKER IS_RASPBERRYPI IS_PIP_PACKAGE IS_GIT_DIR USER_CONFIG_DIR DATASETS_DIR "
    "WEIGHTS_DIR RUNS_DIR SettingsManager SimpleClass TryExcept Retry ThreadingLocked threaded set_logging emojis "
    "remove_colorstr get_default_args get_user_config_dir is_online is_ubuntu is_colab is_kaggle is_jupyter "
    "is_docker is_raspberrypi is_github_action_running is_pytest_running is_pip_package is_dir_writeable is_git_dir "
    "get_git_dir clean_url url2file plt_settings checks ops metrics plotting loss tal torch_utils files downloads",
    "ultralytics.utils.checks": "check_imgsz check_file check_yaml check_suffix check_version check_requirements "
    "check_python check_amp check_class_names check_imshow check_is_path_safe collect_system_info cuda_device_count "
    "cuda_is_available print_args checks",
    "ultralytics.utils.ops": "Profile xyxy2xywh xywh2xyxy xywhn2xyxy xyxy2xywhn xywh2ltwh xyxy2ltwh ltwh2xywh "
    "ltwh2xyxy clip_boxes clip_coords scale_boxes scale_coords make_divisible clean_str non_max_suppression "
    "convert_torch2numpy_batch",
    "ultralytics.utils.metrics": "bbox_iou box_iou bbox_ioa mask_iou kpt_iou probiou batch_probiou compute_ap "
    "ap_per_class smooth Metric DetMetrics ConfusionMatrix OKS_SIGMA plot_pr_curve plot_mc_curve",
    "ultralytics.utils.plotting": "Annotator Colors colors plot_images plot_labels plot_results save_one_box "
    "output_to_target feature_visualization plot_tune_results",
    "ultralytics.utils.loss": "v8DetectionLoss BboxLoss DFLoss FocalLoss VarifocalLoss",
    "ultralytics.utils.tal": "TaskAlignedAssigner make_anchors dist2bbox bbox2dist",
    "ultralytics.utils.torch_utils": "select_device model_info get_flops get_num_params get_num_gradients "
    "fuse_conv_and_bn fuse_deconv_and_bn ModelEMA intersect_dicts init_seeds smart_inference_mode de_parallel "
    "is_parallel strip_optimizer profile EarlyStopping one_cycle copy_attr initialize_weights scale_img time_sync "
    "autocast get_cpu_info torch_distributed_zero_first",
    "ultralytics.utils.files": "increment_path file_size file_date file_age get_latest_run",
    "ultralytics.utils.downloads": "download safe_download",
}
# What single tasks, tracking and the tools for data bring.
OF_PARTS = {
    "segmentation": {
        "ultralytics.models.yolo.segment": "SegmentationTrainer SegmentationValidator SegmentationPredictor",
        "ultralytics.nn.tasks": "SegmentationModel",
        "ultralytics.nn.modules": "Segment Proto",
        "ultralytics.engine.results": "Masks",
        "ultralytics.utils.loss": "v8SegmentationLoss",
        "ultralytics.utils.metrics": "SegmentMetrics",
        "ultralytics.utils.ops": "process_mask process_mask_native crop_mask scale_masks scale_image "
        "masks2segments segments2boxes resample_segments segment2box",
        "ultralytics.data.augment": "CopyPaste",
        "ultralytics.data.utils": "polygon2mask polygons2masks polygons2masks_overlap",
    },
    "classification": {
        "ultralytics.models.yolo.classify": "ClassificationTrainer ClassificationValidator ClassificationPredictor",
        "ultralytics.nn.tasks": "ClassificationModel",
        "ultralytics.nn.modules": "Classify",
        "ultralytics.engine.results": "Probs",
        "ultralytics.utils.loss": "v8ClassificationLoss",
        "ultralytics.utils.metrics": "ClassifyMetrics",
        "ultralytics.data": "ClassificationDataset",
        "ultralytics.data.augment": "classify_transforms classify_augmentations",
        "ultralytics.data.utils": "check_cls_dataset",
    },
    "poses": {
        "ultralytics.models.yolo.pose": "PoseTrainer PoseValidator PosePredictor",
        "ultralytics.nn.tasks": "PoseModel",
        "ultralytics.nn.modules": "Pose",
        "ultralytics.engine.results": "Keypoints",
        "ultralytics.utils.loss": "v8PoseLoss KeypointLoss",
        "ultralytics.utils.metrics": "PoseMetrics",
    },
    "oriented boxes": {
        "ultralytics.models.yolo.obb": "OBBTrainer OBBValidator OBBPredictor",
        "ultralytics.nn.tasks": "OBBModel",
        "ultralytics.nn.modules": "OBB",
        "ultralytics.engine.results": "OBB",
        "ultralytics.utils.loss": "v8OBBLoss",
        "ultralytics.utils.metrics": "OBBMetrics",
        "ultralytics.utils.ops": "xyxyxyxy2xywhr xywhr2xyxyxyxy regularize_rboxes",
        "ultralytics.utils.tal": "RotatedTaskAlignedAssigner dist2rbox",
    },
    "tracking": {"ultralytics.trackers": "BYTETracker BOTSORT register_tracker"},
    "tools for data": {
        "ultralytics.data.converter": "convert_coco convert_dota_to_yolo_obb",
        "ultralytics.data.utils": "autosplit",
    },
}


def names(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(module, name) for module, words in table.items() for name in words.split()]


def find(module: str, name: str) -> object:
    """Import a name as `from module import name` does."""
    scope: dict = {}
    exec(f"from {module} import {name} as found", scope)
    return scope["found"]


@pytest.mark.parametrize("module", HERE)
def test_names_are_where_scripts_look_for_them(module: str):
    for name in HERE[module].split():
        assert find(module, name) is not None or name in {"GIT_DIR"}, name


@pytest.mark.parametrize("part", OF_PARTS)
def test_names_of_parts(part: str):
    for module, name in names(OF_PARTS[part]):
        find(module, name)


def test_one_script_imports_everything(tmp_path):
    """As a user's script does: one process, one statement a module, in any order of first use."""
    script = "\n".join(f"from {m} import {', '.join(words.split())}" for m, words in reversed(HERE.items()))
    file = tmp_path / "script.py"
    file.write_text(script + "\nprint('all here')", encoding="utf-8")
    done = subprocess.run([sys.executable, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1:] == ["all here"], done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["script.py"]  # nothing was written


def test_methods_of_yolo():
    from ultralytics import YOLO

    methods = """train val predict tune export benchmark embed info fuse load save to reset_weights add_callback
    clear_callback reset_callbacks eval parameters state_dict half float cpu cuda __call__"""
    assert not [m for m in methods.split() if not callable(getattr(YOLO, m))]
    properties = "names device transforms task_map"
    assert not [p for p in properties.split() if not isinstance(getattr(YOLO, p), property)]


@pytest.mark.parametrize(
    ("place", "hooks"),
    [
        (
            "ultralytics.engine.trainer:BaseTrainer",
            """train get_dataset setup_model get_model get_validator get_dataloader build_dataset preprocess_batch
            set_model_attributes label_loss_items progress_string plot_training_samples plot_training_labels
            plot_metrics save_metrics save_model validate optimizer_step build_optimizer final_eval on_plot
            _setup_train _do_train _setup_scheduler read_results_csv build_targets check_resume resume_training
            add_callback set_callback run_callbacks""",
        ),
        (
            "ultralytics.engine.validator:BaseValidator",
            """__call__ get_dataloader preprocess postprocess init_metrics update_metrics finalize_metrics get_stats
            print_results get_desc plot_val_samples plot_predictions on_plot add_callback run_callbacks build_dataset
            match_predictions check_stats pred_to_json eval_json""",
        ),
        (
            "ultralytics.engine.predictor:BasePredictor",
            """__call__ preprocess pre_transform inference postprocess setup_source setup_model stream_inference
            predict_cli write_results save_predicted_images show add_callback run_callbacks""",
        ),
    ],
)
def test_hooks_that_subclasses_override(place: str, hooks: str):
    module, _, name = place.partition(":")
    engine = getattr(importlib.import_module(module), name)
    assert not [hook for hook in hooks.split() if not callable(getattr(engine, hook, None))]


def test_settings_are_those_of_a_script():
    from ultralytics import settings
    from ultralytics.utils import DEFAULT_CFG, DEFAULT_CFG_DICT, DEFAULT_CFG_KEYS

    assert settings["runs_dir"] and settings.get("nothing", 3) == 3
    assert DEFAULT_CFG.imgsz == DEFAULT_CFG_DICT["imgsz"] == 640 and "imgsz" in DEFAULT_CFG_KEYS


# Other products -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "from ultralytics import SAM",
        "from ultralytics import YOLO, RTDETR",
        "from ultralytics import hub",
        "from ultralytics import solutions",
        "import ultralytics.hub",
        "from ultralytics.models import SAM",
        "from ultralytics.models import FastSAM, NAS",
        "from ultralytics.models.sam import Predictor",
        "from ultralytics.models.fastsam import FastSAMPredictor",
        "from ultralytics.models.rtdetr import RTDETRTrainer",
        "from ultralytics.models.yolo.world import WorldTrainer",
        "from ultralytics.solutions import ObjectCounter",
        "from ultralytics.data.annotator import auto_annotate",
        "from ultralytics.data.explorer import Explorer",
    ],
)
def test_imports_of_other_products_say_so(statement: str):
    with pytest.raises(ImportError, match=r"'ultralytics\.\S+' is not part of this package.*Use 'ultralytics\.YOLO'"):
        exec(statement, {})


def test_every_module_is_an_attribute_of_its_package(monkeypatch):
    import ultralytics

    found = 0
    for file in sorted(Path(ultralytics.__file__).parent.rglob("*.py")):
        name = ".".join(file.relative_to(Path(ultralytics.__file__).parents[1]).with_suffix("").parts)
        package, _, last = name.removesuffix(".__init__").rpartition(".")
        if package and last != "__main__" and hasattr(parent := importlib.import_module(package), "__getattr__"):
            monkeypatch.delattr(parent, last, raising=False)
            module = getattr(parent, last)
            assert module.__name__ == f"{package}.{last}"
            found += 1
    assert found > 100


def test_attributes_that_are_no_modules():
    import ultralytics

    for package in (ultralytics, ultralytics.engine, ultralytics.nn, ultralytics.models.yolo, ultralytics.utils):
        assert not hasattr(package, "nothing") and not hasattr(package, "__nothing__")
    with pytest.raises(AttributeError, match=r"'ultralytics\.models\.fastsam' is not part of this package"):
        _ = ultralytics.models.fastsam


def test_a_predictor_that_libraries_ask_for_cannot_be_made():
    """The callback of Weights & Biases imports it, to tell it from others."""
    from ultralytics.models.sam.predict import Predictor

    with pytest.raises(ValueError, match=r"'ultralytics\.models\.sam\.predict\.Predictor' is not part of this package"):
        Predictor()


def test_other_missing_modules_are_missing_as_usual():
    for name in ("ultralytics.nothing", "nothing.hub", "hub"):
        with pytest.raises(
            ModuleNotFoundError, match=f"No module named '{name.split('.')[0] if name[0] == 'n' else name}'"
        ):
            importlib.import_module(name)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from ultralytics import nothing", {})
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from ultralytics.nn import nothing", {})


def test_reloading_adds_no_second_finder():
    code = """
    import importlib, sys, ultralytics
    importlib.reload(ultralytics)
    print(sum(getattr(f, "__name__", "") == "_Elsewhere" for f in sys.meta_path), hasattr(ultralytics, "SAM"))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=600)
    assert done.stdout == "1 False\n", done.stderr
