"""The version is written in one place."""

import re
from importlib.metadata import version

import zenkei


def test_the_installed_package_has_the_version_of_the_source():
    assert version("zenkei") == zenkei.__version__


def test_the_version_is_one_that_tools_can_order():
    assert re.fullmatch(r"\d+\.\d+\.\d+", zenkei.__version__)
