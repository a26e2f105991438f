"""A job whose launcher has nothing to start is refused before it is given anything."""

import pytest

from zenkei.engines.local.launchers import refuse_missing
from zenkei.model.errors import NotAvailable
from zenkei.model.job import EnvRequest, JobSpec, Launcher

OPEN_MPI = ("mpiexec", "prterun", "prted")
MPICH = ("mpiexec", "hydra_pmi_proxy")


def spec(launcher: Launcher, **variables: str) -> JobSpec:
    return JobSpec(name="n", command="x", launcher=launcher, env=EnvRequest(vars=variables))


def programs(folder, *names: str) -> str:
    (folder / "bin").mkdir()
    for name in names:
        (folder / "bin" / name).write_text("#!/bin/sh\n")
        (folder / "bin" / name).chmod(0o755)
    return str(folder / "bin")


def check(job: JobSpec, env_dir="", path: str = "/nowhere") -> None:
    refuse_missing(job, {}, env_dir=str(env_dir), search_path=path)


@pytest.mark.parametrize("names", [OPEN_MPI, MPICH], ids=["openmpi", "mpich"])
def test_an_environment_with_mpi_will_do(tmp_path, names):
    check(spec(Launcher.MPI), tmp_path, programs(tmp_path, *names))


@pytest.mark.parametrize("names", [(), ("mpiexec",)], ids=["nothing", "of an unknown kind"])
def test_an_environment_without_mpi_is_refused_with_what_to_add(tmp_path, names):
    with pytest.raises(NotAvailable) as refused:
        check(spec(Launcher.MPI), tmp_path, programs(tmp_path, *names))
    assert "the job's environment has neither Open MPI 5 nor MPICH" in refused.value.message
    assert refused.value.hint == "add `openmpi` or `mpich` to `env.packages`"


def test_a_machine_without_mpi_is_called_so():
    with pytest.raises(NotAvailable, match="this machine has neither"):
        check(spec(Launcher.MPI))


def test_the_path_that_a_job_sets_itself_is_looked_along(tmp_path):
    own = programs(tmp_path, *MPICH)
    check(spec(Launcher.MPI, PATH=own))
    with pytest.raises(NotAvailable):
        check(spec(Launcher.MPI, PATH="/nowhere"), path=own)


@pytest.mark.parametrize(
    ("launcher", "package"), [(Launcher.TORCHRUN, "torch"), (Launcher.JAX, "jax")]
)
def test_a_framework_s_launcher_needs_it_in_the_environment(tmp_path, launcher, package):
    with pytest.raises(NotAvailable) as refused:
        check(spec(launcher), tmp_path)
    assert refused.value.hint == f"add `{package}` to `env.packages`"
    module = tmp_path / "lib" / "python3.11" / "site-packages" / package / "__init__.py"
    module.parent.mkdir(parents=True)
    module.touch()
    check(spec(launcher), tmp_path)


def test_what_a_job_brings_along_is_not_judged(tmp_path):
    check(spec(Launcher.TORCHRUN, PYTHONPATH="/somewhere"), tmp_path)


def test_ranks_without_a_launcher_need_no_program(tmp_path):
    check(spec(Launcher.NONE), tmp_path)
