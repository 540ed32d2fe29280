"""A server in memory that speaks the real one's protocol: for tests that choose what goes wrong, and when.

It stands where redis-py's pool of connections stands, so that all of ours is the real thing: client, errors,
and the Lua scripts themselves. `tests/integration/test_memory_server.py` holds it to what real servers answer.
"""

from tests.harness.memory.server import MemoryServer

__all__ = ["MemoryServer"]
