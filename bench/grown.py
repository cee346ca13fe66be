"""The same writing on PostgreSQL: Debian's server beside the node, its disk flushed as in earnest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import attesting, singles
from bench.figure import Figure
from bench.measure import fdatasync_ms, process_cpu_s, tree
from bench.space import folder, opened
from tests.cluster import Cluster


def figures(calls: int = attesting.CALLS, acts: int = singles.ACTS) -> Iterator[Figure]:
    """The figures of attesting and of single acts, the processor's time of the server beside them."""
    with folder() as place:
        place.chmod(0o755)  # the server runs as another user where this runs as root
        (place / "server").mkdir()
        disk = {"fdatasync_ms": fdatasync_ms(place)}
        cluster = Cluster(place / "server")
        try:
            yield from _measured(place, cluster, disk, calls, acts)
        finally:
            cluster.stop()


def _measured(
    place: Path, cluster: Cluster, disk: dict[str, float], calls: int, acts: int
) -> Iterator[Figure]:
    with opened(place, database=cluster.fresh()) as space:
        key = space.insurer_key
        singles.measured(space, acts // 8)
        before = _server_s(cluster)
        one = singles.measured(space, acts)
        server = {"server_cpu_ms": (_server_s(cluster) - before) * 1000 / acts}
    rounds = attesting.served(place / "home", key, calls, (2, 4))
    yield from attesting.told(rounds, "PostgreSQL", disk)
    yield from singles.told(one, "PostgreSQL", acts, {**disk, **server})


def _server_s(cluster: Cluster) -> float:
    """The processor's seconds of the server's processes that run now."""
    assert cluster.process is not None
    return sum(process_cpu_s(pid) for pid in tree(cluster.process.pid))
