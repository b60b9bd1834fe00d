"""The numbers of several processes as one: sums, and a few by process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from viewer_api.front import Front

_LEAST: Final = frozenset(("process_start_time_seconds", "process_max_fds"))
"""Of these the sum means nothing."""


def together(front: Front) -> CollectorRegistry:
    """What tells the numbers of all processes; metrics that this one makes from now on are among them."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = front.folder  # where the library looks for it
    number = front.number
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, front.folder)  # type: ignore[no-untyped-call]
    PlatformCollector(registry=registry)
    registry.register(Processes(front))
    return registry


class Processes:
    """What the kernel knows of the processes, and what they tell each other."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield from self._of_kernel()
        connections = GaugeMetricFamily(
            "pacs_web_connections", "Connections that a process has open", labels=["process"]
        )
        starts = CounterMetricFamily("pacs_web_process_starts", "How often a process was started", labels=["process"])
        for number, count in enumerate(self._front.board.counts):
            connections.add_metric([str(number)], count)
            starts.add_metric([str(number)], self._front.starts[number])
        yield connections
        yield starts

    def _of_kernel(self) -> Iterator[Metric]:
        """Sums over the processes that serve."""
        found: dict[str, Metric] = {}
        for identifier in filter(None, self._front.identifiers.all):
            for metric in ProcessCollector(pid=lambda of=identifier: of, registry=None).collect():  # type: ignore[misc]
                known = found.setdefault(metric.name, metric)
                if known is not metric:
                    known.samples = [
                        one._replace(value=(min if metric.name in _LEAST else _add)(one.value, other.value))
                        for one, other in zip(known.samples, metric.samples, strict=True)
                    ]
        yield from found.values()


def _add(one: float, other: float) -> float:
    return one + other
