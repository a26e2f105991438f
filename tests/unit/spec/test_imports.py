"""The room stays light: what only some calls need is imported by those calls."""

import subprocess
import sys

HEAVY = ("yaml", "pydantic", "blake3", "difflib", "tomllib", "orjson")


def loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_importing_the_room_loads_no_library():
    assert loaded_after("import zenkei.spec") == set()


def test_a_file_without_mistakes_needs_yaml_only():
    parse = "from zenkei import spec; spec.parse(b'command: x', file='job.yaml')"
    assert loaded_after(parse) == {"yaml"}


def test_a_stored_spec_needs_nothing():
    read = """from zenkei import spec; spec.from_canonical('{"command":"x","name":"x"}')"""
    assert loaded_after(read) == set()
