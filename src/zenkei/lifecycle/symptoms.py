"""What each symptom means, and what follows from it: one total table. Pure.

Read by `outcome` (class and action), by `cause` (title and hint) and by `tools.docs`, whose guide
on failures is this table. `protocol.symptoms` finds the symptoms; a test says that both tables have
the same names. A user's own rules overrule what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zenkei.model.job import FailureClass, RetryAction

USER: Final = FailureClass.USER_ERROR
MEMORY: Final = FailureClass.OUT_OF_MEMORY
INFRA: Final = FailureClass.INFRASTRUCTURE
DATA: Final = FailureClass.DATA
AGAIN: Final = RetryAction.RETRY
ELSEWHERE: Final = RetryAction.ELSEWHERE
MORE: Final = RetryAction.MORE_MEMORY
NEVER: Final = RetryAction.GIVE_UP


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """title: in the first line of `zenkei show`. hint: what to do. told: the line tells more."""

    failure: FailureClass
    action: RetryAction
    title: str
    hint: str
    told: bool = False


def _m(
    failure: FailureClass, action: RetryAction, title: str, hint: str, *, told: bool = False
) -> Meaning:
    return Meaning(failure=failure, action=action, title=title, hint=hint, told=told)


MEANINGS: Final[dict[str, Meaning]] = {
    # memory
    "cuda_out_of_memory": _m(
        MEMORY,
        AGAIN,
        "CUDA out of memory",
        "use a smaller batch, accumulate gradients, or ask for larger GPUs with "
        "`resources.gpu_type`",
    ),
    "memory_limit": _m(
        MEMORY,
        MORE,
        "more memory was used than asked for",
        "raise `resources.memory`, or use fewer data loader processes",
    ),
    "out_of_memory": _m(
        MEMORY,
        MORE,
        "out of memory",
        "raise `resources.memory`, or load the data in parts",
        told=True,
    ),
    "shared_memory": _m(
        MEMORY,
        ELSEWHERE,
        "shared memory (/dev/shm) is full",
        "use fewer data loader processes, or pass data through files",
    ),
    "bus_error": _m(
        MEMORY,
        ELSEWHERE,
        "bus error: shared memory is full, or a mapped file was cut off",
        "look at the size of /dev/shm and of the files that the program maps",
    ),
    # GPUs
    "gpu_memory_error": _m(
        INFRA,
        ELSEWHERE,
        "a GPU has a hardware error (ECC, Xid, NVLink)",
        "tell whoever looks after the machine; `zenkei nodes` shows its state",
        told=True,
    ),
    "gpu_lost": _m(
        INFRA,
        ELSEWHERE,
        "a GPU does not answer any more",
        "tell whoever looks after the machine: the GPU needs a reset or a reboot",
        told=True,
    ),
    "gpu_driver": _m(
        INFRA,
        ELSEWHERE,
        "the node's GPU driver does not fit",
        "use a CUDA version that the driver supports, or have the driver updated",
        told=True,
    ),
    "gpu_architecture": _m(
        USER,
        NEVER,
        "the program was not built for this kind of GPU",
        "install a build for this GPU, or name another kind with `resources.gpu_type`",
    ),
    "no_gpu": _m(
        USER,
        AGAIN,
        "no GPU is visible to the program",
        "ask for one with `resources.gpus`, and use a CUDA build of the framework",
    ),
    "gpu_assert": _m(
        USER,
        AGAIN,
        "a check inside a GPU kernel failed",
        "often a label or an index out of range: run once with CUDA_LAUNCH_BLOCKING=1",
    ),
    "gpu_illegal_access": _m(
        USER,
        AGAIN,
        "a GPU kernel accessed memory that is not its own",
        "run once with CUDA_LAUNCH_BLOCKING=1, or under compute-sanitizer",
    ),
    # communication
    "nccl_system": _m(
        INFRA,
        ELSEWHERE,
        "NCCL failed in the system or the network",
        "set NCCL_DEBUG=INFO in `env.vars` to see which call failed",
        told=True,
    ),
    "nccl_usage": _m(
        USER,
        AGAIN,
        "NCCL was used wrongly",
        "each rank needs a GPU of its own: check the device by ZENKEI_LOCAL_RANK",
    ),
    "network": _m(
        INFRA,
        ELSEWHERE,
        "a host could not be reached",
        "check the address, and whether nodes may reach it; fetch data before the job starts",
        told=True,
    ),
    "port_in_use": _m(
        INFRA,
        ELSEWHERE,
        "a port was taken already",
        "use ZENKEI_MASTER_PORT, which is reserved, or port 0",
        told=True,
    ),
    "connection_lost": _m(
        INFRA,
        ELSEWHERE,
        "the connection to another process was lost",
        "no rank showed a cause: look at the logs of all ranks with `zenkei logs`",
        told=True,
    ),
    "collective_timeout": _m(
        FailureClass.HUNG,
        AGAIN,
        "a collective operation timed out",
        "a rank did not come to it: `zenkei stacks` shows where the ranks were",
        told=True,
    ),
    "rendezvous_timeout": _m(
        INFRA,
        ELSEWHERE,
        "the ranks did not all find each other in time",
        "a rank started late or not at all: look at the logs of all ranks",
        told=True,
    ),
    "mpi_launch": _m(
        INFRA,
        ELSEWHERE,
        "mpiexec could not start the ranks",
        "check that the program exists on every node and that one MPI is installed",
        told=True,
    ),
    "mpi_abort": _m(
        USER,
        AGAIN,
        "the program called MPI_Abort",
        "look at what the rank said before it did",
        told=True,
    ),
    "launcher_summary": _m(
        USER,
        AGAIN,
        "a rank failed below its launcher",
        "look at what the rank said before the launcher's summary",
    ),
    "interrupted": _m(
        USER,
        AGAIN,
        "it was interrupted",
        "the program was told to end by something that is not zenkei",
    ),
    # files and limits
    "disk_full": _m(
        INFRA,
        ELSEWHERE,
        "no space left on a disk",
        "write less, ask for `resources.tmp`, or have space made",
        told=True,
    ),
    "disk_quota": _m(
        USER,
        NEVER,
        "a quota or a limit of a file's size is used up",
        "remove files that are not needed, or ask for more",
        told=True,
    ),
    "dataset_unusable": _m(
        DATA,
        NEVER,
        "a dataset cannot be given to the job",
        "`zenkei dataset verify` looks for damage; files of a version by reference must not change",
        told=True,
    ),
    "dataset_written": _m(
        USER,
        NEVER,
        "the program wrote into a dataset, which is read-only",
        "write below $ZENKEI_OUTPUT_DIR or $ZENKEI_TMPDIR; caches of a library may need a variable",
    ),
    "input_output": _m(
        INFRA,
        ELSEWHERE,
        "a disk or a network file system failed",
        "tell whoever looks after the storage",
        told=True,
    ),
    "too_many_files": _m(
        USER,
        AGAIN,
        "too many open files",
        "close files and sockets, use fewer data loader processes, or raise `ulimit -n`",
    ),
    "too_many_processes": _m(
        USER,
        AGAIN,
        "too many processes or threads",
        "set OMP_NUM_THREADS, and use fewer data loader processes",
    ),
    "missing_file": _m(
        USER,
        NEVER,
        "a file is missing",
        "is it in the working tree (`zenkei run --check` lists what travels), and is the path "
        "relative?",
        told=True,
    ),
    "permission_denied": _m(
        USER,
        NEVER,
        "permission denied",
        "check who may read or write it; results belong below ZENKEI_OUTPUT_DIR",
        told=True,
    ),
    "license": _m(
        USER,
        AGAIN,
        "no license was free, or it is not valid",
        "try again later with `retry.limit` and `retry.backoff`",
        told=True,
    ),
    "authentication": _m(
        USER,
        NEVER,
        "a server refused the credentials",
        "put a valid token into a secret (`zenkei secret set`) and name it in `secrets`",
        told=True,
    ),
    # data
    "data_corrupt": _m(
        DATA,
        AGAIN,
        "a file is damaged or not what it should be",
        "make or fetch the file again, and compare its size and checksum",
        told=True,
    ),
    "cannot_pickle": _m(
        USER,
        NEVER,
        "an object cannot be sent to another process",
        "define what is sent at the top of a module: no lambda, no inner function, no open file",
        told=True,
    ),
    "not_a_number": _m(
        USER,
        AGAIN,
        "a loss or a value is not a number",
        "lower the learning rate, clip gradients, and check the data for NaN",
        told=True,
    ),
    # the program
    "import_error": _m(
        USER, NEVER, "an import failed", "add the package to `env.packages`", told=True
    ),
    "missing_library": _m(
        USER,
        NEVER,
        "a shared library is missing or too old",
        "use a package built for this system, or another `env.python`",
        told=True,
    ),
    "syntax_error": _m(
        USER,
        NEVER,
        "the program is not valid",
        "correct it; is `env.python` the version it was written for?",
        told=True,
    ),
    "wrong_arguments": _m(
        USER, NEVER, "the program refused its arguments", "correct `command`", told=True
    ),
    "command_not_found": _m(
        USER,
        NEVER,
        "the command was not found",
        "check its name and `env.packages`; programs of the working tree start with `./`",
        told=True,
    ),
    "not_executable": _m(
        USER,
        NEVER,
        "the command cannot be executed",
        "`chmod +x` it, or start it by its interpreter; is it built for this processor?",
        told=True,
    ),
    "assertion": _m(USER, AGAIN, "an assertion failed", "look at the last lines", told=True),
    "python_error": _m(USER, AGAIN, "", "look at the last lines", told=True),
    # signals
    "segfault": _m(
        USER,
        AGAIN,
        "segmentation fault",
        "run it with PYTHONFAULTHANDLER=1 to see where; native packages may not fit together",
    ),
    "illegal_instruction": _m(
        USER,
        ELSEWHERE,
        "illegal instruction: the program was built for another processor",
        "install a build for this processor, or choose nodes with `constraints`",
    ),
    "aborted": _m(USER, AGAIN, "it aborted", "look at the last lines"),
    "thread_outlives": _m(
        USER,
        AGAIN,
        "it aborted on its way out: a thread still ran when the program had ended",
        "join all threads first; of PyTorch with gloo: let the model go, then call "
        "`destroy_process_group`",
    ),
    "killed": _m(
        USER,
        AGAIN,
        "it was killed from outside (signal KILL)",
        "the machine was not out of memory: look for what sends signals to it",
    ),
    "terminated": _m(
        USER,
        AGAIN,
        "it was told to end by something that is not zenkei (signal TERM)",
        "look for what sends signals to it",
    ),
    "signalled": _m(USER, AGAIN, "a signal ended it", "look at the last lines"),
}


def follows(meaning: Meaning) -> str:
    """What zenkei does about it, in words."""
    if meaning.failure is INFRA:
        return "tries again on other nodes, without using up `retry.limit` the first time on a node"
    return _FOLLOWS[meaning.action]


_FOLLOWS: Final = {
    AGAIN: "tries again up to `retry.limit` times",
    ELSEWHERE: "tries again on other nodes, up to `retry.limit` times",
    MORE: "tries again up to `retry.limit` times, once with twice the memory that was asked for, "
    "then no more",
    NEVER: "gives up at once: it would fail again",
}
