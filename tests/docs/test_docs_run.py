"""The commands and examples of the documents are run in their order, by a reader who has what the texts take as given.

README's quick start runs as it stands. Else `SHORTENED` makes trainings and measurements short, and `LEFT_OUT` names
what is not run, and why. Each command must end with exit code 0 and leave what the text promises, see `LEADS_TO`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(bash|python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTES = "train/训练说明.txt"
DOCUMENTS = ["README.md", "改进流程.md", NOTES, *(f.relative_to(ROOT).as_posix() for f in ROOT.glob("docs/*.md"))]
# A training takes one epoch of small images, a comparison one seed, a measurement few rounds.
SHORTENED = {
    r"\bepochs( |=)\d+": r"epochs\g<1>1",
    r"\bimgsz( |=)(?:256|320|640)": r"imgsz\g<1>64",
    r"\bseeds=3": "seeds=1",
    r"\brounds=\d+": "rounds=1",
    r"\bsamples=8": "samples=1",
    r"--train 600 --val 200": "--train 4 --val 2",
}
LEAST = {"epochs": 1, "imgsz": 64}  # where a training names none
LEFT_OUT = {
    r"(python -m venv|pip) ": "changes the environment",
    r"python -m pytest": "runs these tests",
    r"yolo data download|.* data=coco128\.yaml": "needs the network",
    r"yolo data (check my_images|convert)|from ultralytics\.data\.converter": "needs data in other formats",
    r".*--device 0$": "needs a GPU",
    r"import boxmot": "needs boxmot, which no extra installs; tests/test_integrations.py is alike",
    r"torchrun": "needs two machines; tests/faults/test_two_nodes.py is alike",
    r"(OV|LIB)=|g\+\+|\./detect": "needs a compiler; test_docs_serving.py compiles it",
    r"python benchmarks/dense_to_ghost\.py": "trains for hours in any case",
    r"python tests/faults/fuzz\.py": "runs until it is stopped",
    r"python train/(train|yolo11_GhostConv_train)\.py$": "takes more than five minutes, as the main job does",
    r".*resume=runs/detect/train/weights/last\.pt": "is for a training that was interrupted; tests/faults does that",
}
# The file or folder that is there after a command whose words match.
LEADS_TO = {
    r"yolo (?:\w+ )?train (?!.*name=)|python train/train\.py": "runs/detect/train*/weights/best.pt",
    r"yolo .*train .*name=dense": "runs/detect/dense/weights/best.pt",
    r"yolo (?:\w+ )?predict ": "runs/detect/predict*/*.jpg",
    r"yolo (?:\w+ )?track ": "runs/detect/track*/my_video.*",
    r"yolo compare ": "runs/detect/compare*/index.html",
    r"yolo explain ": "runs/detect/explain*/*.png",
    r"yolo transfer .*save=ghost\.pt": "ghost.pt",
    r"yolo export .*format=onnx": "**/best.onnx",
    r"yolo export .*format=openvino": "**/best_openvino_model/*.xml",
    r"yolo profile .*csv=cost\.csv": "cost.csv",
    r".*generate_fire\.py --out (?P<out>\S+)": "datasets/fire_large/train/images/*.jpg",
}


GIVEN_RUNS = ("docs/compare.md", "docs/explain.md", "docs/profile.md")  # they begin with finished trainings


def steps(document: str) -> list[tuple[str, str]]:
    """Return the commands, scripts and files of a document in their order, each once: language and text."""
    text = (ROOT / document).read_text(encoding="utf-8")
    if document == NOTES:
        lines = [line.strip() for line in text.splitlines() if line.startswith(" " * 8)]
        found = [("bash", line) for line in lines if re.match(r"(yolo|python|pip) ", line)]
    else:
        found = []
        for language, code in BLOCK.findall(text):
            found += [(language, line) for line in code.splitlines()] if language == "bash" else [(language, code)]
    return list(dict.fromkeys(found))


def left_out(line: str) -> str:
    """Return why a command is not run, or ''."""
    return next((why for pattern, why in LEFT_OUT.items() if re.match(pattern, line)), "")


def shortened(text: str) -> str:
    """Return a command or script with `SHORTENED` applied; a training that names no epochs or size is short, too."""
    for pattern, short in SHORTENED.items():
        text = re.sub(pattern, short, text)
    if re.match(r"yolo (\w+ )?(train|compare models=)", text) and "resume=" not in text:
        text += "".join(f" {key}={value}" for key, value in LEAST.items() if f"{key}=" not in text)
    if re.match(r"python train/\w+\.py", text):
        text += "".join(f" --{key} {value}" for key, value in LEAST.items() if f"--{key} " not in text)
    return text


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which `yolo` and `python` are those of the tests."""
    shims = folder / "bin"
    shims.mkdir(exist_ok=True)
    for name, words in (("python", ""), ("yolo", "-m ultralytics ")):
        (shims / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
        (shims / name).chmod(0o755)
    return {**os.environ, "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}", "PYTHONUTF8": "1"}


def run(words: list[str], folder: Path) -> str:
    """Run a command in the reader's folder and return what it printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    done = subprocess.run(words, cwd=folder, env=environment(folder), timeout=3000, **pipes)
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights of a YOLO11n that was trained on the fire images, barely."""
    folder = reader(tmp_path_factory.mktemp("weights"))
    run(["sh", "-c", "yolo train model=yolo11n.yaml data=fire.yaml epochs=1 imgsz=64 batch=8 nbs=8"], folder)
    return folder / "runs" / "detect" / "train" / "weights" / "best.pt"


def reader(folder: Path) -> Path:
    """Give a folder what a clone of the repository has, and what the documents take as the reader's own."""
    for name in ("datasets", "train", "docs", "tools", "benchmarks", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.cache*", "__pycache__"))
    (folder / "my_data").symlink_to(folder / "datasets" / "fire")
    data = f"path: {folder / 'datasets' / 'fire'}\ntrain: train/images\nval: val/images\nnames: [fire]\n"
    for name in ("fire", "my", "my_data", "train/my_data", "my_bccd", "my_coco128", "fire800"):
        (folder / f"{name}.yaml").write_text(data, encoding="utf-8")
    yolo11 = (ROOT / "ultralytics/cfg/models/11/yolo11.yaml").read_text(encoding="utf-8")
    (folder / "my_yolo11n.yaml").write_text(yolo11, encoding="utf-8")
    images = sorted((folder / "datasets" / "fire" / "val" / "images").glob("*.jpg"))
    (folder / "images").mkdir()
    for target in ("images/1.jpg", "images/2.jpg", "a.jpg", "image.jpg"):
        shutil.copy(images[0], folder / target)
    film(images[:4], folder / "my_video.mp4")
    return folder


def film(images: list[Path], file: Path) -> None:
    """Write images as a video."""
    import cv2

    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 5, (160, 120))
    for image in images:
        writer.write(cv2.resize(cv2.imread(str(image)), (160, 120)))
    writer.release()


def own_files(document: str, code: str, folder: Path) -> None:
    """Save a block that says which file it is, as the reader is told to."""
    named = re.match(r"# (?:文件：)?(my_\w+\.(?:py|yaml)|yolo11-EcaGhost\.yaml)$", code.partition("\n")[0])
    if named:
        (folder / named[1]).write_text(code, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if steps(d)])
def test_commands_and_examples_lead_to_what_the_text_says(document, weights, tmp_path):
    folder = reader(tmp_path)
    for name in ("train", "train2") if document in GIVEN_RUNS else ():
        shutil.copytree(weights.parents[1], folder / "runs" / "detect" / name)
    for name in ("best.pt", "yolo11n.pt"):
        shutil.copy(weights, folder / name)
    begin = 'from ultralytics import YOLO\nmodel = YOLO("best.pt")\n'
    for number, (language, text) in enumerate(steps(document)):
        own_files(document, text, folder)
        if language == "bash" and not left_out(text):
            before = seen(text, folder)
            run(["sh", "-c", shortened(text)], folder)
            assert before is None or seen(text, folder) - before, f"{text} left nothing new"
        elif language == "python" and not left_out(text) and all((folder / f).exists() for f in own_yamls(text)):
            script = folder / f"block_{number}.py"
            script.write_text((begin if "import" not in text else "") + shortened(text), encoding="utf-8")
            run([sys.executable, script.name], folder)


def own_yamls(code: str) -> list[str]:
    """Return the model YAMLs of the reader's that a script builds; not every text shows the whole file."""
    return re.findall(r'YOLO\("(my_\w+\.yaml)"', code)


def seen(line: str, folder: Path) -> set[tuple[Path, int]] | None:
    """Return the files that a command leads to as they are, or None if it writes none."""
    patterns = [pattern for words, pattern in LEADS_TO.items() if re.match(words, line)]
    if not patterns:
        return None
    return {(file, file.stat().st_mtime_ns) for pattern in patterns for file in folder.glob(pattern)}


@pytest.mark.slow
def test_the_quick_start_finds_fire(tmp_path):
    """The commands below "Train, validate, predict" as they stand: most of the 20 images have detections."""
    folder = reader(tmp_path)
    quick = [line for _, line in steps("README.md") if re.match(r"yolo detect (train|val|predict) ", line)]
    assert len(quick) == 3
    said = [run(["sh", "-c", line], folder) for line in quick]
    found = re.findall(r"image \d+/20 .*", said[2])
    assert len(found) == 20
    assert sum("(no detections)" not in line for line in found) >= 15, said[1] + said[2]


def test_what_is_left_out_and_what_is_looked_for_is_in_the_documents():
    lines = [text for document in DOCUMENTS for _, text in steps(document)]
    assert len(lines) > 70
    for pattern in (*LEFT_OUT, *LEADS_TO):
        assert any(re.match(pattern, line) for line in lines), pattern
    for pattern in SHORTENED:
        assert any(re.search(pattern, line) for line in lines), pattern


def test_every_training_says_how_many_images_a_step_takes():
    """80 images with nbs=64 make two steps an epoch: each command that trains names `nbs`, or goes on from weights."""
    lines = [text for document in DOCUMENTS for language, text in steps(document) if language == "bash"]
    lines = [line for line in lines if re.match(r"yolo (\w+ )?(train|compare models=)", line) and not left_out(line)]
    assert len(lines) > 10
    assert [line for line in lines if "nbs=" not in line and "epochs=120" not in line and "resume=" not in line] == []
