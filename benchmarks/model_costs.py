"""Print what models cost as the README's table: `python benchmarks/model_costs.py yolo11n.yaml yolo11n-ghost.yaml ...`.

Model YAMLs, with 80 classes and at 640 pixels, each compared with the first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from ultralytics.lab.profile import cost_of, load_model
from ultralytics.lab.tables import markdown
from ultralytics.utils.system.console import say


def table(models: Sequence[str], nc: int = 80, imgsz: int = 640) -> str:
    """Return the Markdown table."""
    costs = [cost_of(load_model(name, nc), imgsz) for name in models]
    rows = [[f"model (nc={nc}, {imgsz} pixels)", "parameters", "fused", "GFLOPs", "fused", "weight file"]]
    for name, c in zip(models, costs):
        fewer = f" ({c.params / costs[0].params - 1:+.0%})" if c is not costs[0] else ""
        less = f" ({c.gflops / costs[0].gflops - 1:+.0%})" if c is not costs[0] else ""
        rows.append([
            Path(name).stem, f"{c.params:,}{fewer}", f"{c.params_fused:,}", f"{c.gflops:.2f}{less}",
            f"{c.gflops_fused:.2f}", f"{c.size_mb:.1f} MB",
        ])  # fmt: skip
    return markdown(rows)


if __name__ == "__main__":
    say(table(sys.argv[1:] or ["yolo11n.yaml", "yolo11n-GhostConv.yaml"]))
