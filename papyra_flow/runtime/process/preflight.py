"""Warnings before a run begins, a sentence each: a server that may lose records, and records that stay behind.

None of it keeps a run from starting, and a right that is missing keeps none of the rest from being said. `doctor` says
all of it, and more.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from papyra_flow.errors import ServerError
from papyra_flow.streams.admin.health import server_findings
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import Topology
from papyra_flow.topology.orphans import SCANS, find_orphans

_log = logging.getLogger("papyra_flow.run")


async def forewarn(server: Server, topology: Topology) -> None:
    """Log what a run's records are in for: warnings, and with `-v` what is good to know."""
    with suppress(ServerError):
        for finding in await server_findings(server.client):
            if finding.bad:
                _log.warning("%s", finding)
            elif finding.level == "info":
                _log.info("%s", finding)
    with suppress(ServerError):
        for orphan in await find_orphans(server, topology, scans=SCANS):
            if orphan.holds_records and not orphan.of_others:
                _log.warning("%s; %s", orphan, orphan.hint)
