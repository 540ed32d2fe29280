"""Connections cut, stalled, and replies swallowed after the server has executed what they answer."""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.workload import RECORDS, SEED, Workload, patiently
from tests.harness.ports import free_port
from tests.harness.proxy import Proxy
from tests.harness.servers import LocalServer


def test_connections_that_break_in_every_way(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    port = free_port()
    workload = make_workload(local_server(port=port).url)
    proxy = Proxy(port, SEED)
    workload.via = proxy.url
    workers = [workload.start(), workload.start()]
    producing = workload.in_background(RECORDS)
    producing.join()
    patiently(lambda: workload.length("in") == RECORDS, "all records")
    kinds = ("cut request", "half request", "half reply", "swallow reply")

    def harmed() -> bool:
        """How much traffic these records make depends on how busy the machine is: if it was too little, make more."""
        workload.at_work()
        return sum(proxy.harm.values()) >= 200 and min(proxy.harm[kind] for kind in kinds) >= 10

    patiently(harmed, "enough harm")
    proxy.calm()
    workload.finish(*workers)
    proxy.close()
    print(f"harm done: {dict(proxy.harm)}")
    workload.verify()
