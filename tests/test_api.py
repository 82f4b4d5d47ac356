"""The Python interface: its names, its examples, its types."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lrt_bench
from lrt_bench import Pair, Site
from lrt_bench.errors import UserError


@pytest.mark.parametrize("module", ["lrt_bench", "lrt_bench.api"])
def test_the_examples_in_the_documentation_are_true(module):
    found = doctest.testmod(importlib.import_module(module), raise_on_error=False)
    assert found.attempted > 0
    assert found.failed == 0


def test_public_names_are_there_and_cost_nothing():
    code = (
        "import sys, lrt_bench\n"
        "assert not {'torch', 'transformers', 'pydantic', 'numpy'} & set(sys.modules), 'heavy'\n"
        "for name in lrt_bench.__all__: assert getattr(lrt_bench, name) is not None, name\n"
        "import pkgutil\n"
        "modules = {module.name for module in pkgutil.iter_modules(lrt_bench.__path__)}\n"
        "assert not modules & set(lrt_bench.__all__), 'importing it would hide the public name'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lrt_bench.nonsense  # noqa: B018
    assert set(lrt_bench.__all__) <= set(dir(lrt_bench))
    assert (Path(lrt_bench.__file__).parent / "py.typed").is_file()


def test_sites_by_text_and_by_hand_are_the_same(nano):
    pair = Pair("nano/S:2/3", Site(nano("S"), 3))
    assert pair.source_site.layer == 2
    assert pair.specs == ("nano/S", "nano/S")
    assert Pair("nano/L", "nano/S").source_site.layer == 4  # 70% of 6 layers


def test_a_side_that_is_no_single_layer_is_refused(nano):
    from lrt_bench.models.sites import many_layers

    with pytest.raises(UserError, match="source: a steering vector lives at one layer"):
        Pair(many_layers(nano("S"), "all"), "nano/S").source_site  # noqa: B018
    with pytest.raises(UserError, match="target: layer 9 is out of range"):
        Pair("nano/S", "nano/S:9").target_site  # noqa: B018
