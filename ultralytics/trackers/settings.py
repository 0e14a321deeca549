"""The settings of trackers, and the reading of a tracker's YAML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ultralytics.cfg.schema import read_specs, setting
from ultralytics.trackers.utils.gmc import METHODS
from ultralytics.utils import LOGGER, ROOT, IterableSimpleNamespace, yaml_load
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.errors import ConfigError, MissingFileError, did_you_mean

_TRACK = ("track",)


@dataclass
class ByteTrackSettings:
    """Keys of a YAML with `tracker_type: bytetrack`; the defaults are those of 8.3.0."""

    tracker_type: str = setting("bytetrack", "Name of the tracker.", _TRACK)
    track_high_thresh: float = setting(0.5, "Least score of a detection for the first step.", _TRACK, lo=0, hi=1)
    track_low_thresh: float = setting(0.1, "Least score of a detection for the second step.", _TRACK, lo=0, hi=1)
    new_track_thresh: float = setting(0.6, "Least score of a detection that may begin a track.", _TRACK, lo=0, hi=1)
    track_buffer: int = setting(30, "Frames for which a lost track is kept.", _TRACK, lo=0)
    match_thresh: float = setting(0.8, "Greatest distance (1 - overlap) of a match in step one.", _TRACK, lo=0, hi=1)
    fuse_score: bool = setting(True, "Multiply the overlap by the score of the detection.", _TRACK)


@dataclass
class BotSortSettings(ByteTrackSettings):
    """Keys of a YAML with `tracker_type: botsort`."""

    tracker_type: str = setting("botsort", "Name of the tracker.", _TRACK)
    gmc_method: str | None = setting("sparseOptFlow", "How the camera's movement is found.", _TRACK, choices=METHODS)
    proximity_thresh: float = setting(0.5, "Least overlap at which looks are compared.", _TRACK, lo=0, hi=1)
    appearance_thresh: float = setting(0.25, "Least likeness of looks.", _TRACK, lo=0, hi=1)
    with_reid: bool = setting(False, "Compare looks as well, with an encoder of one's own.", _TRACK)


KINDS: dict[str, type] = {"bytetrack": ByteTrackSettings, "botsort": BotSortSettings}


def check_tracker(given: dict, name: str = "the tracker's settings") -> IterableSimpleNamespace:
    """Check a tracker's settings and fill in the defaults; `name` is for messages.

    Raises:
        ConfigError: the type of tracker or a key is unknown, or a value is not allowed.
    """
    kind = str(given.get("tracker_type")).lower()
    if kind not in KINDS:
        raise ConfigError(
            f"'tracker_type: {given.get('tracker_type')}' in {name} is not known. "
            f"Choose {' or '.join(KINDS)}.{did_you_mean(kind, KINDS, n=1)}"
        )
    specs = read_specs(KINDS[kind])
    unknown = next((key for key in given if key not in specs), None)
    if unknown is not None:
        hint = did_you_mean(unknown, specs, n=1) or f" Keys are {', '.join(specs)}."
        raise ConfigError(f"'{unknown}' in {name} is not a setting of {kind}.{hint}")
    checked = {key: spec.check(given.get(key, spec.default)) for key, spec in specs.items()}
    if checked.get("with_reid"):
        LOGGER.warning(
            f"WARNING: with_reid in {name} needs an encoder of looks, and none is part of this package: without "
            "a subclass of BOTSORT that sets `encoder`, objects are matched by their boxes alone."
        )
    return IterableSimpleNamespace(**{**checked, "tracker_type": kind})


def read_tracker(file: str | Path) -> IterableSimpleNamespace:
    """Read and check a tracker's YAML: a file, or one of the package by its name."""
    found = check_yaml(file, hard=False)
    if not found:
        own = [path.name for path in sorted((ROOT / "cfg" / "trackers").glob("*.yaml"))]
        hint = did_you_mean(str(file), own, n=1)
        raise MissingFileError(f"There is no tracker '{file}': give {' or '.join(own)}, or the path of a YAML.{hint}")
    return check_tracker(yaml_load(found), f"'{file}'")
