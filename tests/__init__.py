"""Tests; a package so that `tests.builders` and the like mean this folder and no other."""
