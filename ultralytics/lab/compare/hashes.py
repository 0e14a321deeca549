"""Hashes of what comparable cells share: model files, and the images and labels of the dataset."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ultralytics.data.classify_dataset import find_samples
from ultralytics.data.labels import img2label_paths
from ultralytics.data.lists import find_images
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.nn.parse import yaml_model_load
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import open_regular


def is_yaml(file: str | Path) -> bool:
    """Whether a file is a YAML by its name."""
    return Path(file).suffix.lower() in {".yaml", ".yml"}


def file_hash(file: str | Path) -> str:
    """Return the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open_regular(file) as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_hash(model: str) -> str:
    """Return a hash of a model file: of the layers and module files of a YAML, or of the bytes of a weight file."""
    return layers_hash(yaml_model_load(model)) if is_yaml(model) else file_hash(model)


def layers_hash(d: Mapping[str, object]) -> str:
    """Return a hash of the layers and module files in a model description."""
    d = {k: v for k, v in d.items() if k != "yaml_file"}
    if isinstance(modules := d.get("modules"), list):
        d["modules"] = [m.get("sha256") if isinstance(m, dict) else m for m in modules]
    return hashlib.sha256(json.dumps(d, sort_keys=True, default=str).encode()).hexdigest()


def data_hash(data: str | None, task: str, split: str = "val") -> str:
    """Return a hash of the data, wherever they are stored: names and sizes of the images, and their labels.

    Raises:
        UserError: the dataset cannot be used.
    """
    if not data:
        raise ConfigError("No data was given. Write data= and a data YAML, such as data=fire.yaml.")
    by_folder = task == "classify"
    found = check_cls_dataset(data, split) if by_folder else check_det_dataset(data)
    digest = hashlib.sha256()
    for where in (found[key] for key in dict.fromkeys(("train", "val", split)) if found.get(key)):
        images = [file for file, _ in find_samples(where)[1]] if by_folder else find_images(where)
        for file, label in zip(images, images if by_folder else img2label_paths(images)):
            name = "/".join(Path(file).parts[-2 if by_folder else -1 :])  # the folder is the class
            size = os.path.getsize(file) if os.path.isfile(file) else -1
            said = b"" if by_folder or not os.path.isfile(label) else Path(label).read_bytes()
            digest.update(f"{name}\0{size}\0{len(said)}\0".encode("utf-8", "surrogateescape") + said)
    return digest.hexdigest()
