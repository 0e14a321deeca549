"""The structure of the package: layers, no import circles, few attributes, types that hold (`tools/structure.py`)."""

from __future__ import annotations

import pytest

from tools import structure


def test_every_folder_has_a_floor():
    unknown = {module.split(".")[1] for module in structure.MODULES if "." in module} - set(structure.FLOORS)
    assert not unknown, f"add {unknown} to FLOORS"


def test_nothing_reaches_upward():
    """Nor inside a function: what must be reached upward is named by a dotted string in cfg/tasks.py."""
    assert not structure.imports("ultralytics", inside_functions=False)
    assert not structure.upward()


def test_no_circles():
    """Nor inside a function."""
    graph = structure.import_graph()
    message = [
        "\n".join(f"{module} imports {', '.join(sorted(graph[module] & {*group}))}" for module in group)
        for group in structure.circles(graph)
    ]
    assert not message, "Files import each other in a circle:\n" + "\n\n".join(message)


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"g", "e"}, "g": {"f"}}
    assert structure.circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_the_reader_of_imports_sees_them():
    """The tests above would pass on an empty list, so the reader is tested too."""
    seen = structure.imports("ultralytics.cfg", inside_functions=False)
    assert {"ultralytics.utils", "ultralytics.cfg.schema"} <= set(seen)
    assert "ultralytics.engine.tuner" not in structure.imports("ultralytics.engine.model", inside_functions=False)
    assert "ultralytics.engine.tuner" in structure.imports("ultralytics.engine.model")


@pytest.mark.parametrize("name", structure.CLASSES)
def test_engines_have_few_attributes_all_born_in_init(name):
    attributes, late, properties = structure.attributes(structure.CLASSES[name])
    assert 5 < len(attributes) <= structure.MAX_ATTRIBUTES, sorted(attributes)
    assert not late
    assert {"trainer": {"epochs", "best_fitness"}, "predictor": {"batch", "results"}}[name] <= properties


def test_any_is_rare():
    assert 0 < structure.count_any() <= structure.MAX_ANY


@pytest.mark.slow
def test_types_hold():
    pytest.importorskip("mypy", reason="reads the types")
    assert structure.type_errors() == []
