"""The ordered table of symptoms: words that programs print when they fail. Only data.

Read by `protocol.symptoms`, which says what the kinds mean and how the words are looked for. Words
stand as the programs really print them, in what they share between versions. On one line the first
symptom of the table counts: what is special stands before what is general.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple, Union

SURE = "sure"
LAST = "last"
CONSEQUENCE = "consequence"

Words = Union[bytes, Tuple[bytes, ...]]
"""Words that stand on a line, or several that stand on the same line."""


class Symptom(NamedTuple):
    """words: anywhere on a line. starts: how a line begins (LAST only)."""

    name: str
    kind: str
    words: tuple[Words, ...] = ()
    starts: tuple[bytes, ...] = ()


TABLE = (
    Symptom(
        "cuda_out_of_memory",
        SURE,
        (
            b"CUDA out of memory",
            b"HIP out of memory",
            b"CUDA error: out of memory",
            b"cupy.cuda.memory.OutOfMemoryError",
            b"cudaErrorMemoryAllocation",
            b"CUDA_ERROR_OUT_OF_MEMORY",
            b"CUBLAS_STATUS_ALLOC_FAILED",
            b"CUDNN_STATUS_ALLOC_FAILED",
            b"RESOURCE_EXHAUSTED: Out of memory",
            b"RESOURCE_EXHAUSTED: Failed to allocate",
            b"OOM when allocating tensor",
        ),
    ),
    Symptom(
        "gpu_memory_error",
        SURE,
        (
            b"uncorrectable ECC error",
            b"CUDA_ERROR_ECC_UNCORRECTABLE",
            b"cudaErrorECCUncorrectable",
            b"uncorrectable NVLink error",
            b"CUDA_ERROR_NVLINK_UNCORRECTABLE",
            b"cudaErrorHardwareStackError",
            (b"Xid", b"PCI:"),
        ),
    ),
    Symptom(
        "gpu_lost",
        SURE,
        (
            b"fallen off the bus",
            b"GPU is lost",
            b"Unable to determine the device handle for GPU",
            b"CUDA error: unknown error",
            b"cudaErrorUnknown",
            b"CUDA_ERROR_UNKNOWN",
            b"cudaErrorDevicesUnavailable",
            b"CUDA-capable device(s) is/are busy or unavailable",
            b"cudaErrorSystemNotReady",
            b"system not yet initialized",
        ),
    ),
    Symptom(
        "gpu_driver",
        SURE,
        (
            b"CUDA driver version is insufficient",
            b"cudaErrorInsufficientDriver",
            b"Driver/library version mismatch",
            b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            b"The NVIDIA driver on your system is too old",
            b"forward compatibility was attempted on non supported HW",
        ),
    ),
    Symptom(
        "gpu_architecture",
        SURE,
        (
            b"no kernel image is available for execution",
            b"cudaErrorNoKernelImageForDevice",
            b"CUDA_ERROR_NO_BINARY_FOR_GPU",
            b"provided PTX was compiled with an unsupported toolchain",
            b"nvcc fatal   : Unsupported gpu architecture",
        ),
    ),
    Symptom(
        "no_gpu",
        SURE,
        (
            b"No CUDA GPUs are available",
            b"no CUDA-capable device is detected",
            b"cudaErrorNoDevice",
            b"CUDA_ERROR_NO_DEVICE",
            b"Found no NVIDIA driver on your system",
            b"Attempting to deserialize object on a CUDA device",
            b"Torch not compiled with CUDA enabled",
        ),
    ),
    Symptom(
        "gpu_assert",
        SURE,
        (b"device-side assert triggered", b"cudaErrorAssert", b"CUDA_ERROR_ASSERT"),
    ),
    Symptom(
        "gpu_illegal_access",
        SURE,
        (
            b"an illegal memory access was encountered",
            b"CUDA_ERROR_ILLEGAL_ADDRESS",
            b"cudaErrorIllegalAddress",
            b"cudaErrorMisalignedAddress",
            b"CUDA error: unspecified launch failure",
            b"CUDA_ERROR_LAUNCH_FAILED",
        ),
    ),
    Symptom(
        "nccl_usage", SURE, (b"ncclInvalidUsage", b"ncclInvalidArgument", b"Duplicate GPU detected")
    ),
    Symptom(
        "nccl_system",
        SURE,
        (
            b"unhandled system error",
            b"ncclSystemError",
            (b"NCCL", b"unhandled cuda error"),
            b"ncclUnhandledCudaError",
            b"ncclInternalError",
            (b"ibv_", b"failed with error"),
            (b"NCCL WARN", b"IBV_WC_"),
        ),
    ),
    Symptom(
        "shared_memory",
        SURE,
        (
            b"insufficient shared memory",
            b"out of shared memory",
            b"unable to open shared memory object",
            (b"unable to write to file", b"torch_"),
            (b"No space left on device", b"/dev/shm"),
            (b"No space left on device", b"shared memory"),
            (b"No space left on device", b"/psm_"),
            (b"Error while creating shared memory", b"/dev/shm"),
        ),
    ),
    Symptom(
        "disk_quota", SURE, (b"Disk quota exceeded", b"[Errno 122]", b"EDQUOT", b"File too large")
    ),
    Symptom("disk_full", SURE, (b"No space left on device", b"[Errno 28]", b"ENOSPC")),
    Symptom(
        "too_many_files",
        SURE,
        (b"Too many open files", b"[Errno 24]", b"EMFILE", b"received 0 items of ancdata"),
    ),
    Symptom(
        "too_many_processes",
        SURE,
        (
            b"can't start new thread",
            b"Resource temporarily unavailable",
            b"fork: retry",
            b"Cannot fork",
            b"pthread_create failed",
            b"Thread creation failed",
        ),
    ),
    Symptom(
        "out_of_memory",
        SURE,
        (
            b"MemoryError",
            b"Cannot allocate memory",
            b"can't allocate memory",
            b"std::bad_alloc",
            b"java.lang.OutOfMemoryError",
            b"Out of memory: Kill",
            b"is killed by signal: Killed",
            b"malloc: out of memory",
        ),
    ),
    Symptom(
        "input_output",
        SURE,
        (
            b"Input/output error",
            b"[Errno 5]",
            b"Stale file handle",
            b"Stale NFS file handle",
            b"Transport endpoint is not connected",
            b"Read-only file system",
        ),
    ),
    # told from the one above by the agent, which knows where the datasets are
    Symptom("dataset_written", SURE, ()),
    Symptom("dataset_unusable", SURE, ()),
    Symptom(
        "missing_library",
        SURE,
        (
            b"error while loading shared libraries",
            b"cannot open shared object file",
            (b"version `GLIBC", b"not found"),
            (b"version `CXXABI", b"not found"),
            b": undefined symbol: ",
        ),
    ),
    Symptom(
        "authentication",
        SURE,
        (
            b"401 Client Error",
            b"403 Client Error",
            b"HTTP Error 401",
            b"HTTP Error 403",
            b"GatedRepoError",
            b"Invalid username or password",
            b"Authentication failed",
            b"Permission denied (publickey",
            b"api_key not configured",
            b"InvalidAccessKeyId",
            b"SignatureDoesNotMatch",
            b"(AccessDenied)",
            b"Unable to locate credentials",
        ),
    ),
    Symptom(
        "license",
        SURE,
        (
            b"Licensed number of users already reached",
            b"License checkout failed",
            b"Cannot connect to license server",
            b"No valid license",
            b"FlexNet Licensing error",
            b"license has expired",
        ),
    ),
    Symptom(
        "network",
        SURE,
        (
            b"Network is unreachable",
            b"No route to host",
            b"Temporary failure in name resolution",
            b"Name or service not known",
            b"No address associated with hostname",
            b"nodename nor servname provided",
            b"Could not resolve host",
            b"getaddrinfo failed",
            b"NameResolutionError",
            b"Max retries exceeded with url",
            b"429 Client Error",
            b"502 Server Error",
            b"503 Server Error",
            b"504 Server Error",
            b"HTTP Error 50",
            b"HTTP Error 429",
        ),
    ),
    Symptom(
        "port_in_use", SURE, (b"Address already in use", b"address already in use", b"EADDRINUSE")
    ),
    Symptom(
        "data_corrupt",
        SURE,
        (
            b"UnpicklingError",
            b"Ran out of input",
            b"BadZipFile",
            b"File is not a zip file",
            b"Bad CRC-32",
            b"CRC check failed",
            b"Bad magic number",
            b"zlib.error: Error -",
            b"lzma.LZMAError",
            b"Not a gzipped file",
            b"Compressed file ended before the end-of-stream marker",
            b"Unexpected end of data",
            b"unexpected end of data",
            b"image file is truncated",
            b"UnidentifiedImageError",
            b"failed finding central directory",
            b"PytorchStreamReader failed",
            b"Error while deserializing header",
            (b"Unable to", b"open file", b"truncated file"),
            (b"Unable to", b"open file", b"file signature not found"),
            (b"Unable to", b"open file", b"bad superblock"),
            b"Parquet magic bytes not found",
            b"DATA_LOSS: ",
            b"DataLossError",
            b"Cannot load file containing pickled data",
            (b"Failed to interpret file", b"as a pickle"),
            b"the magic string is not correct",
        ),
    ),
    Symptom(
        "cannot_pickle",
        SURE,
        (b"Can't pickle", b"annot pickle", b"Can't get local object", b"Can't get attribute"),
    ),
    Symptom(
        "mpi_launch",
        SURE,
        (
            b"There are not enough slots available",
            b"was unable to reliably start one or more daemons",
            b"HYDU_create_process",
            b"unable to launch the proxy",
            b"was unable to find the specified executable file",
            b"It looks like MPI_INIT failed",
            b"It looks like MPI_Init failed",
            b"PMIX ERROR: ",
        ),
    ),
    Symptom("illegal_instruction", SURE, (b"Illegal instruction", b"(SIGILL) received by PID")),
    Symptom("segfault", SURE, (b"Segmentation fault", b"(SIGSEGV) received by PID")),
    Symptom("bus_error", SURE, (b"Bus error", b"(SIGBUS) received by PID")),
    Symptom("killed", SURE, (b"(SIGKILL) received by PID",)),
    Symptom(
        "not_a_number",
        SURE,
        (
            b"Loss is nan",
            b"loss is nan",
            b"Loss is NaN",
            b"loss is NaN",
            b"NaN loss",
            b"nan loss",
            b"oss is not finite",
            b"returned nan values in its",
            b"Input contains NaN",
            b"Non-finite values encountered",
        ),
    ),
    # from here on: only what was said last
    Symptom("import_error", LAST, starts=(b"ModuleNotFoundError", b"ImportError")),
    Symptom(
        "syntax_error",
        LAST,
        ((b"sh: ", b"Syntax error:"), (b"sh: ", b"syntax error")),
        (b"SyntaxError", b"IndentationError", b"TabError"),
    ),
    Symptom(
        "wrong_arguments",
        LAST,
        (
            b": error: unrecognized arguments",
            b": error: the following arguments are required",
            b": error: argument",
            b": error: one of the arguments",
        ),
    ),
    Symptom(
        "missing_file",
        LAST,
        (b"can't open file '", b": No such file or directory", b": No such file"),
        (b"FileNotFoundError", b"NotADirectoryError", b"IsADirectoryError"),
    ),
    Symptom(
        "permission_denied",
        LAST,
        (b": Permission denied", b": Operation not permitted"),
        (b"PermissionError",),
    ),
    Symptom(
        "connection_lost",
        CONSEQUENCE,
        (
            b"Connection reset by peer",
            b"Connection closed by peer",
            b"Connection refused",
            b"connection closed by remote",
            b"Broken pipe",
            b"BrokenPipeError",
            b"ncclRemoteError",
            b"remote process exited or there was a network error",
            b"heartbeat timeout",
            b"EOFError: connection closed",
            b"Socket closed",
            b"Communication connection closed",
        ),
        (b"ConnectionResetError", b"ConnectionAbortedError", b"ConnectionRefusedError"),
    ),
    Symptom(
        "collective_timeout",
        CONSEQUENCE,
        (
            b"collective operation timeout",
            b"Timed out waiting",
            b"ms for recv operation to complete",
            b"ms for send operation to complete",
            (b"WorkNCCL", b"before timing out"),
            b"Some NCCL operations have failed or timed out",
            (b"wait timeout after", b"ms"),
        ),
    ),
    Symptom(
        "rendezvous_timeout",
        CONSEQUENCE,
        (
            b"RendezvousTimeoutError",
            b"RendezvousConnectionError",
            b"RendezvousClosedError",
            b"DEADLINE_EXCEEDED: Barrier timed out",
            b"DEADLINE_EXCEEDED: Deadline Exceeded",
            (b"imed out after", b"clients joined"),
            b"The client socket has timed out",
            (b"Timed out", b"store", b"workers"),
        ),
    ),
    Symptom(
        "mpi_abort",
        CONSEQUENCE,
        (b"MPI_ABORT was invoked", b"application called MPI_Abort", b"called MPI_Abort("),
    ),
    Symptom(
        "launcher_summary",
        CONSEQUENCE,
        (
            b"ChildFailedError",
            b"ProcessExitedException",
            b"BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES",
            b"Primary job  terminated normally, but",
            b"mpiexec detected that one or more processes exited",
            b"prterun detected that one or more processes exited",
            b"mpirun noticed that process rank",
        ),
    ),
    Symptom(
        "interrupted",
        CONSEQUENCE,
        (b"SignalException: Process", b"(SIGTERM) received by PID"),
        (b"KeyboardInterrupt",),
    ),
    Symptom("thread_outlives", LAST, (b"terminate called without an active exception",)),
    Symptom("assertion", LAST, starts=(b"AssertionError",)),
    Symptom("python_error", LAST),
    # told by how a rank ended, never by words
    Symptom("memory_limit", LAST),
    Symptom("command_not_found", LAST),
    Symptom("not_executable", LAST),
    Symptom("aborted", LAST),
    Symptom("terminated", LAST),
    Symptom("signalled", LAST),
)
