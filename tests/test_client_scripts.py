"""Scripts as users write them for 8.3.0 run here; `client_scripts` runs them on the other package too."""

from __future__ import annotations

import client_scripts
import pytest
from client_scripts import SCRIPTS, SLOW


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SCRIPTS])
def test_script(name, tmp_path):
    client_scripts.run(name, tmp_path)


def test_there_are_sixty():
    assert len(SCRIPTS) >= 60 and {*SCRIPTS} >= SLOW
