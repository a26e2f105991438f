"""Many rows in one JSON parameter, and statements whose text is made once per database.

`rows` is a FROM item on both databases: `json_each(:j)` on SQLite, `jsonb_array_elements(:j)` on
PostgreSQL. So a batch of any size is one statement with one text (no executemany, no VALUES list
that is compiled anew for each size), and what a compare-and-set misses is absent from RETURNING.
Statements are SQLAlchemy Core, run as text through the driver: none of their cost is per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Dialect, Integer, Subquery, Text, bindparam, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement, GenericFunction
from sqlalchemy.types import TypeEngine

from zenkei.store.codec import dumps

NUMBER: Final = BigInteger()
TEXT: Final = Text()


class json_rows(GenericFunction[Any]):  # noqa: N801 - it is the name of a function in SQL
    """The elements of a JSON array, as rows with a column `value`."""

    inherit_cache = True


@compiles(json_rows, "sqlite")
def _sqlite_rows(element: json_rows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(json_rows, "postgresql")
def _postgresql_rows(element: json_rows, compiler: SQLCompiler, **options: Any) -> str:
    return f"jsonb_array_elements(CAST({compiler.process(element.clauses, **options)} AS JSONB))"


class _Item(FunctionElement[Any]):
    """Element `index` of the JSON array in a column, as a number or as text."""

    inherit_cache = False

    def __init__(self, array: ClauseElement, index: int, kind: TypeEngine[Any]) -> None:
        super().__init__(array)
        self.index = index
        self.type = kind


@compiles(_Item, "sqlite")
def _sqlite_item(element: _Item, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_extract({compiler.process(element.clauses, **options)}, '$[{element.index}]')"


@compiles(_Item, "postgresql")
def _postgresql_item(element: _Item, compiler: SQLCompiler, **options: Any) -> str:
    text = f"({compiler.process(element.clauses, **options)} ->> {element.index})"
    return f"CAST({text} AS BIGINT)" if isinstance(element.type, Integer) else text


class json_number(FunctionElement[int]):  # noqa: N801 - it is the name of a function in SQL
    """Number `key` at the top of the JSON object in a text column; null if it is not there."""

    inherit_cache = False
    type = NUMBER

    def __init__(self, text: ClauseElement, key: str) -> None:
        super().__init__(text)
        self.key = key


@compiles(json_number, "sqlite")
def _sqlite_number(element: json_number, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_extract({compiler.process(element.clauses, **options)}, '$.{element.key}')"


@compiles(json_number, "postgresql")
def _postgresql_number(element: json_number, compiler: SQLCompiler, **options: Any) -> str:
    # no cast to jsonb, which refuses texts with NUL; in a JSON text a quote is always escaped, so
    # that nothing but a key looks like one
    text = compiler.process(element.clauses, **options)
    return f"CAST(substring({text} from '\"{element.key}\":([0-9]+)') AS BIGINT)"


def rows(**columns: TypeEngine[Any]) -> Subquery:
    """A FROM item with these columns, in this order, from the arrays in parameter `j`."""
    values = json_rows(bindparam("j", type_=Text())).table_valued("value", name="v")
    items = [
        _Item(values.c.value, index, kind).label(name)
        for index, (name, kind) in enumerate(columns.items())
    ]
    return select(*items).select_from(values).subquery("r")


def pack(values: Iterable[Sequence[object]]) -> str:
    """Parameter `j`."""
    return dumps(list(values))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """Text for one dialect. order: names of positional parameters, None where they are named."""

    text: str
    order: tuple[str, ...] | None
    constants: dict[str, Any]


class Statement:
    """A Core statement, compiled once per dialect. Parameters are numbers and text only."""

    def __init__(self, sqlite: Any, postgresql: Any = None) -> None:
        self._core = {
            "sqlite": sqlite,
            "postgresql": sqlite if postgresql is None else postgresql,
        }
        self._made: dict[str, _Made] = {}

    def run(self, connection: Connection, **values: Any) -> Any:
        """The cursor result of the statement with `values`."""
        made = self._made.get(connection.dialect.name)
        if made is None:
            made = self._made[connection.dialect.name] = self._make(connection.dialect)
        values = made.constants | values
        if made.order is None:
            return connection.exec_driver_sql(made.text, values)
        return connection.exec_driver_sql(made.text, tuple(values[key] for key in made.order))

    def _make(self, dialect: Dialect) -> _Made:
        compiled = self._core[dialect.name].compile(dialect=dialect)
        return _Made(
            text=str(compiled),
            order=None if compiled.positiontup is None else tuple(compiled.positiontup),
            constants={key: value for key, value in compiled.params.items() if value is not None},
        )
