"""A package index in a folder, wheels made on the spot, and a builder that sees nothing else."""

import base64
import hashlib
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.envs.builder import UvBuilder
from zenkei.model.data import Digest
from zenkei.model.job import EnvRequest


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    body: str = "",
    requires: tuple[str, ...] = (),
    script: str = "",
    modules: int = 0,
) -> Path:
    """A real wheel with one module `name`, perhaps a console script, perhaps many small modules."""
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {wish}" for wish in requires]
    contents = {
        f"{name}/__init__.py": body
        or f"VERSION = {version!r}\n\ndef main():\n    print(VERSION)\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents |= {f"{name}/m{n // 100}/x{n}.py": f"N = {n}\n" for n in range(modules)}
    if script:
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n"
    rows = []
    for path, text in contents.items():
        raw = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        rows.append(f"{path},sha256={raw.decode()},{len(text)}")
    contents[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    target = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return target


@dataclass
class World:
    """home: ZENKEI_HOME. index: folder of wheels, the only index. said: progress of all calls."""

    home: Path
    index: Path
    said: list[str] = field(default_factory=list)

    def environ(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home / "person"),
            "UV_FIND_LINKS": str(self.index),
            "UV_NO_INDEX": "1",
        }

    def builder(
        self, settings: dict[str, str] | None = None, *, timeout_s: float = 60.0
    ) -> UvBuilder:
        """settings: further variables of the daemon's environment."""
        blobs = DirectoryBlobs(self.home / "blobs")
        return UvBuilder(
            root=self.home / "envs",
            blobs=blobs,
            environ={**self.environ(), **(settings or {})},
            timeout_s=timeout_s,
        )

    def wheel(self, name: str, version: str = "1.0", **more: object) -> Path:
        return make_wheel(self.index, name, version, **more)  # type: ignore[arg-type]

    def realised(self, builder: UvBuilder, *packages: str) -> tuple[Digest, Path]:
        digest = builder.lock(EnvRequest(packages=packages), self.said.append)
        return digest, Path(builder.realise(digest, self.said.append))

    def trees(self) -> list[str]:
        return sorted(os.listdir(self.home / "envs" / "trees"))

    def built(self) -> int:
        """How many environments were built while this world listened."""
        return sum(line.startswith("environment ready") for line in self.said)


def fresh_world(folder: Path, index: Path | None = None) -> World:
    """With one package, `apple` 1.0, that has a console script."""
    (folder / "home" / "person").mkdir(parents=True)
    world = World(home=folder / "home", index=index or folder / "index")
    world.wheel("apple", script="apple")
    return world


def package_file(tree: Path, name: str) -> Path:
    """`__init__.py` of an installed package."""
    return next(tree.glob(f"lib/python3.*/site-packages/{name}/__init__.py"))
