"""The store on SQLite and PostgreSQL, one text for both. `SqlStore` is all that others need."""

from zenkei.store.sql.store import SqlStore

__all__ = ["SqlStore"]
