"""The MCP server: Foretide's answers as tools, its tables as resources, for AI clients.

It reads. Only where the configuration allows it are there two tools that write, and they go the way
of the verbs `apply` and `release`.
"""

from pipelines.mcp.access import Place, parse_place
from pipelines.mcp.asking import Desk
from pipelines.mcp.server import build_server, serve

__all__ = ["Desk", "Place", "build_server", "parse_place", "serve"]
