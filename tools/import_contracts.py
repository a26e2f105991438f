"""A contract for import-linter: rooms that may not be imported, whether or not they exist yet.

Called by `lint-imports` through `contract_types` in pyproject.toml. import-linter's own `forbidden`
contract stops with an error when a module that it names is missing; rooms appear here when they are
needed, so the walls are written first. tests/architecture checks that each room named in a contract
is spelled as in the layers.
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.domain.contract import ContractCheck


class ForbiddenRoomsContract(ForbiddenContract):
    """`forbidden`, leaving out the rooms of zenkei that are not there yet."""

    type_name = "forbidden_rooms"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Check the contract on the rooms present; with none of them it is kept."""
        for field in ("source_modules", "forbidden_modules"):
            named = getattr(self, field)
            setattr(self, field, {m for m in named if self._is_present(graph, str(m))})
        return super().check(graph, verbose)

    def _is_present(self, graph: ImportGraph, name: str) -> bool:
        is_room = any(name.startswith(f"{root}.") for root in self.session_options["root_packages"])
        return "*" in name or not is_room or name in graph.modules
