"""How `mpiexec` of Open MPI 5 or MPICH is told to start ranks through our own supervisors.

Called by the head node's supervisor. Measured facts behind it: both fork ranks of the head locally
and start the others with a remote-start program of our choice (`mpi_rsh`); neither can be trusted
about how ranks ended (Open MPI hangs if one exits without finalizing, and returns 0 if its link is
killed), so each rank runs under `rank_wrapper`, which tells the supervisor of its node. Open MPI
takes nodes with equal host names for one: virtual nodes get names of their own (UTS namespace).
"""

from __future__ import annotations

import glob
import os
import stat
import sys
import time

from zenkei.agent import processes, rank_wrapper
from zenkei.protocol import launch, launchers

HOSTS_FILE = "hosts"
RSH_FILE = "rsh"
MPICH_SHM = "/dev/shm/mpich_shm_*"  # noqa: S108 - MPICH's choice
SHM_AGE_S = 5.0


class NoMpi(Exception):
    """The environment has no MPI that is known. The text is for the person."""


def find(path: str) -> tuple[str, str]:
    """Kind of MPI and its `mpiexec`, by looking along PATH. Raises NoMpi."""
    kind, program = launchers.find_mpi(path)
    if kind:
        return kind, program
    raise NoMpi(
        "the job's environment has neither Open MPI 5 nor MPICH:"
        " add `openmpi` or `mpich` to env.packages"
    )


def command(document: launch.Launch, archive: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Argv that starts all ranks of the gang, and variables for it. Writes two files beside it.

    archive: the agent's own file. Raises NoMpi.
    """
    kind, program = find(document.env.get("PATH", os.defpath))
    _write_rsh(archive)
    _write_hosts(document, kind)
    total = str(document.nodes * document.ranks)
    rsh, hosts = os.path.abspath(RSH_FILE), os.path.abspath(HOSTS_FILE)
    if kind == launchers.OPEN_MPI:
        head = _open_mpi(document, program, rsh, hosts, total)
        extra = {}
    else:
        head = (program, "-f", hosts, "-launcher", "ssh", "-launcher-exec", rsh)
        head += ("-localhost", document.addresses[0], "-bind-to", "none", "-genvnone", "-n", total)
        extra = {"HYDRA_LAUNCHER_AUTOFORK": "0"}
    return (*head, *_agent(archive), *rank_wrapper.words(document.argv)), extra


def _open_mpi(
    document: launch.Launch, program: str, rsh: str, hosts: str, total: str
) -> tuple[str, ...]:
    head: tuple[str, ...] = (program, "--hostfile", hosts, "-n", total)
    head += ("--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none")
    head += ("--prtemca", "plm_ssh_agent", rsh, "--prtemca", "plm_ssh_no_tree_spawn", "1")
    head += ("--mca", "mpi_yield_when_idle", "1")
    if document.virtual:
        head += ("--mca", "pml", "ob1", "--mca", "btl", "tcp,self,sm")
    return (*head, "--allow-run-as-root") if os.geteuid() == 0 else head


def needs_host_name(document: launch.Launch) -> bool:
    """True if commands on this node must see a host name of its own."""
    if not document.virtual or document.node_rank == 0:
        return False
    try:
        return find(document.env.get("PATH", os.defpath))[0] == launchers.OPEN_MPI
    except NoMpi:
        return False


def _agent(archive: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", archive)


def _write_rsh(archive: str) -> None:
    """The remote-start program: mpiexec wants one path."""
    words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in _agent(archive))
    with open(RSH_FILE, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f'#!/bin/sh\nexec {words} mpi-rsh "$@"\n')
    os.chmod(RSH_FILE, stat.S_IRWXU)


def _write_hosts(document: launch.Launch, kind: str) -> None:
    slots = " slots=" if kind == launchers.OPEN_MPI else ":"
    with open(HOSTS_FILE, "w", encoding="utf-8") as file:
        file.writelines(f"{address}{slots}{document.ranks}\n" for address in document.addresses)


def sweep_shared_memory() -> None:
    """Remove what killed MPICH ranks left in /dev/shm: files of this user that nobody maps.

    Young files stay: a rank makes its file a moment before it maps it. The next sweep gets them.
    """
    left = [path for path in glob.glob(MPICH_SHM) if _is_old_and_ours(path)]
    if not left:
        return
    used: set[str] = set()
    for pid in processes.everybody():
        used.update(path for path in left if path.encode() in _maps(pid))
    for path in set(left) - used:
        _unlink(path)


def _is_old_and_ours(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and time.time() - status.st_mtime > SHM_AGE_S


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        # the supervisor of another node was quicker
        pass


def _maps(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return file.read()
    except OSError:
        return b""
