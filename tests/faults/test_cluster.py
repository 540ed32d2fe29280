"""A cluster: the master of the pipeline's slot killed, and the slot moved to other nodes, with all that is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.test_failover import fail_over
from tests.faults.workload import RECORDS, Workload, patiently
from tests.harness.cluster import Cluster
from tests.harness.servers import REDIS, VALKEY

KEY = "{f}:in"


@pytest.fixture
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters of a flavour; their nodes are ended after the test."""
    made: list[Cluster] = []

    def make(flavour: str, **options: bool) -> Cluster:
        made.append(Cluster(flavour, tmp_path_factory.mktemp("cluster"), **options))
        return made[-1].start()

    yield make
    for cluster in made:
        cluster.end()


def on(cluster: Cluster, make_workload: Callable[..., Workload]) -> Workload:
    """A workload that looks for the slot's master anew whenever it speaks to it."""

    def find() -> str:
        return f"redis://127.0.0.1:{cluster.owner(KEY)}"

    return make_workload(find(), via=cluster.url, find=find)


def test_failover_of_the_slots_master(
    make_cluster: Callable[..., Cluster], make_workload: Callable[..., Workload]
) -> None:
    cluster = make_cluster(VALKEY, replicas=True)
    workload = on(cluster, make_workload)
    fail_over(workload, lambda: cluster.owner(KEY), cluster.nodes)


@pytest.mark.parametrize("flavour", [VALKEY, REDIS])
def test_a_slot_that_moves_takes_its_pipeline_along(
    make_cluster: Callable[..., Cluster], make_workload: Callable[..., Workload], flavour: str
) -> None:
    cluster = make_cluster(flavour)
    workload = on(cluster, make_workload)
    workers = workload.pair_at_work()
    moves = 0
    for _ in range(4):
        workload.produce(RECORDS // 4)
        patiently(workload.at_work, "work in hand")
        before = cluster.owner(KEY)
        cluster.move(KEY, cluster.after(before))
        patiently(lambda: cluster.owner(KEY) != before and cluster.nodes[cluster.owner(KEY)].is_master(), "the move")  # noqa: B023
        moves += 1
        produced = workload.length("out")
        patiently(lambda: workload.length("out") > produced or not workload.pending(), "going on")  # noqa: B023
    workload.finish(*workers, via=cluster.url)
    assert moves == 4
    workload.verify()
