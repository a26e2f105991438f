"""Engine for one machine: no root, no daemon to install.

Every attempt has a supervisor of its own per node (`agent`), started through a warm process; this
room writes launch documents and orders, and reads records. Nodes may be declared (virtual).
"""

from zenkei.engines.local.engine import Limits, LocalEngine
from zenkei.engines.local.nodes import NodesConfig

__all__ = ["Limits", "LocalEngine", "NodesConfig"]
