"""The guide to tracking stays true: its code runs, its commands parse, its table has the trackers' keys."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
from moving import crossing, frame, write_video
from tiny import tiny_model

from ultralytics import YOLO
from ultralytics.cli import parse
from ultralytics.trackers.settings import BotSortSettings
from ultralytics.utils import ROOT

TEXT = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_commands_and_keys_exist():
    commands = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
    assert len(commands) == 3
    for command in commands:
        assert parse(shlex.split(command)[1:])["mode"] == "track"
    keys = re.findall(r"^\| `(\w+)` ", TEXT, re.MULTILINE)
    known = set(BotSortSettings.__dataclass_fields__)
    assert set(keys) == known - {"tracker_type", "proximity_thresh", "appearance_thresh", "with_reid"}
    for name in re.findall(r"^\| `(\w+\.yaml)` ", TEXT, re.MULTILINE):
        assert (ROOT / "cfg" / "trackers" / name).is_file()


def test_code_runs(work_dir: Path, capsys):
    """A detector with random weights finds anything or nothing; what counts is that frame by frame goes through."""
    YOLO(tiny_model(work_dir)).save("best.pt")
    frames = [frame(crossing(t)) for t in range(3)]
    assert np.any(frames[0] != frames[1])
    write_video(work_dir / "my_video.avi", frames)
    code = next(code for language, code in BLOCKS if language == "python").replace("my_video.mp4", "my_video.avi")
    (work_dir / "code.py").write_text(code, encoding="utf-8")
    result = runpy.run_path("code.py")["result"]
    assert result.orig_shape == frames[0].shape[:2]
