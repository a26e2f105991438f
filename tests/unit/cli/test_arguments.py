"""Wrong words on the command line: what is wrong, and what would be right; exit code 2."""

import pytest

from zenkei.cli import daemon, entry, run
from zenkei.client.failure import Failure

WRONG = {
    "up --nodes -1": "--nodes -1: not a whole number from 0 to 10000",
    "up --nodes 10001": "--nodes 10001: not a whole number from 0 to 10000",
    "up --nodes 99999999999999999999": "--nodes 99999999999999999999: not a whole number",
    "up --nodes four": "--nodes four: not a whole number",
    "up --nodes 2 --gpus-per-node -3": "--gpus-per-node -3: not a whole number from 0 to 64",
    "up --nodes 2 --cpus-per-node nan": "--cpus-per-node nan: not a number from",
    "up --nodes 2 --cpus-per-node 0": "--cpus-per-node 0: not a number from",
    "up --nodes 2 --memory-per-node lots": "--memory-per-node lots: not a size",
    "up --nodes 0 --gpus-per-node 2": "sizes with --nodes 0",
    "up --nodes": "--nodes needs a value",
    "logs --tail -3 1": "--tail -3: not a whole number",
    "logs --rank a 1": "--rank a: not numbers of ranks",
    "logs --attempt 0 1": "--attempt 0: not a whole number from 1",
    "logs 1 2": "`2` is one word too many for `zenkei logs`",
    "ps --limit 0": "--limit 0: not a whole number from 1",
    "metrics --rank -1 1": "--rank -1: not a whole number",
    "metrics --points -1 1": "--points -1: not a whole number",
    "result ls --attempt x 1": "--attempt x: not a whole number",
    "cancel --grace inf 1": "--grace inf: not a number from 0 to 86400",
    "exec --node -1 1 -- true": "--node -1: not a whole number",
    "prune --keep -1": "--keep -1: not a whole number",
    "du --top -1": "--top -1: not a whole number",
    "show": "JOB is missing",
    "verify 1 --tolerance =1": "--tolerance =1: there is no name before `=`",
    "verify 1 --ignore=": "--ignore needs a name",
    "logs 5/2": "`5/2` names an attempt, not a job",
    "--nonsense": "`--nonsense` is not a verb of zenkei",
    "run train.py": "train.py is a program, not a job file",
    "run python train.py": "`train.py`: the command of a job comes after `--`",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_word_is_met_with_what_is_wrong_and_what_would_be_right(words, zenkei_home, capsys):
    assert entry.main(words.split()) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {WRONG[words]}")
    assert hint.startswith("hint: ")
    assert list(zenkei_home.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "near"),
    [("ps --al", "--all"), ("run --naem=x", "--name"), ("show 1 --dif", "--diff")],
)
def test_a_misspelled_option_is_met_with_the_nearest(words, near, zenkei_home, capsys):
    assert entry.main(words.split()) == 2
    assert f"did you mean `{near}`?" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["64GiB", "1.5 TiB", "512MB", "100000 B"])
def test_a_size_is_taken_as_it_is_written(size):
    assert daemon._size(size) == size


def test_who_wrote_flags_is_told_of_flags():
    problem = {"message": "`resources.nodes` cannot be 0", "hint": "see `array`", "at": None}
    told = run._in_flags(Failure("bad", "`time_limit` is x", exit_code=2, problems=[problem]))
    assert str(told) == "`--time-limit` is x"
    assert told.problems[0]["message"] == "`--nodes` cannot be 0"
    assert told.problems[0]["hint"] == "see `--array`"
    assert told.exit_code == 2
