"""Statements of the hot path find their rows by an index, also where SQLite knows no statistics."""

from typing import Any

import pytest
from sqlalchemy import create_engine

from zenkei.store.sql import queries, rows, writes
from zenkei.store.sql.opening import open_database

STATEMENTS = {
    "jobs of a batch": rows._JOBS,
    "members of a submission": rows._MEMBERS,
    "nodes of a batch": rows._NODES,
    "what is held on nodes": rows._HELD,
    "known requests": rows._KNOWN,
    "compare-and-set": writes._CHANGED,
    "effects that are done": writes._DONE,
    "effects put back": writes._LATER,
    "allocations that end": writes._RELEASED,
    "usage that ends": writes._UNUSED,
    "jobs that changed": queries._CHANGED_JOBS,
    "jobs for a cold planner": queries._PLANNED_JOBS,
    "allocations that changed": queries._CHANGED_PARTS,
    "the log": queries._EVENTS,
    "the story of a job": queries._JOB_EVENTS,
    "allocations of attempts": queries._SOME_ALLOCATIONS,
    "who waits for a job": queries._DEPENDENTS,
    "the last job of a person": queries._LAST,
    "usage that is about to end": rows._OPEN,
    "past usage of some": rows._PAST,
    "past usage that changed": queries._PAST,
    "the newest word on the cluster": rows.NEWEST_CLUSTER,
}


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "db.sqlite3"
    database = open_database(f"sqlite:///{path}")
    with database.reading() as connection:
        yield connection
    database.close()


def plan_of(connection, statement):
    """The steps of SQLite's plan."""
    made: Any = statement._make(create_engine("sqlite://").dialect)
    values = [made.constants.get(name, "[]" if name == "j" else 0) for name in made.order]
    text = "EXPLAIN QUERY PLAN " + made.text
    return [row[3] for row in connection.exec_driver_sql(text, tuple(values))]


@pytest.mark.parametrize("title", STATEMENTS)
def test_no_table_is_walked_through(connection, title):
    plan = plan_of(connection, STATEMENTS[title])
    jobs = ("jobs", "events", "allocations", "on_node", "usage", "outbox", "nodes", "requests")
    tables = (*jobs, "past_usage", "cluster_log")
    walked = [step for step in plan if step.startswith(tuple(f"SCAN {name}" for name in tables))]
    assert walked == [], plan


def test_the_log_of_one_job_does_not_walk_through_the_log_of_all(connection):
    plan = plan_of(connection, queries._JOB_EVENTS)
    assert any("events_by_job" in step for step in plan), plan
