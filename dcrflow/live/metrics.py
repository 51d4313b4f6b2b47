"""Numbers of campaigns for Prometheus, on the scheduler's ``/metrics`` beside dask's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from dcrflow.live.plugin import LivePage


class CampaignMetrics(Collector):
    """Counters over all campaigns of a scheduler since it began, and gauges of the one that is running."""

    def __init__(self, plugin: LivePage) -> None:
        self._plugin = plugin

    @classmethod
    def registered(cls, plugin: LivePage) -> Self:
        """One that is asked from now on."""
        made = cls(plugin)
        REGISTRY.register(made)
        return made

    def unregister(self) -> None:
        """No longer be asked; in the process of a local cluster others may follow."""
        REGISTRY.unregister(self)

    def collect(self) -> Iterator[Any]:
        """The numbers now."""
        known = self._plugin.campaigns
        done, steps, moved = (
            sum((told.numbers(kind) for told in known), Counter(self._plugin.past[kind]))
            for kind in ("done", "steps", "bytes")
        )
        yield _counter("dcrflow_detector_visits", "Detector-visits that ended", "status", done)
        yield _counter("dcrflow_step_seconds", "Seconds of work by step", "step", steps)
        yield _counter("dcrflow_bytes", "Bytes of coadds read, and of templates written", "direction", moved)
        told = self._plugin.campaign()
        if told is not None:
            gauge = GaugeMetricFamily(
                "dcrflow_campaign_detector_visits", "Detector-visits of the campaign by state", labels=["state"]
            )
            for name, number in told.numbers("now").items():
                gauge.add_metric([name], number)
            yield gauge
            yield GaugeMetricFamily(
                "dcrflow_campaign_rate", "Detector-visits per minute in the last minute",
                value=told.summary.get("rate", 0.0),
            )  # fmt: skip


def _counter(name: str, text: str, label: str, numbers: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, number in sorted(numbers.items()):
        family.add_metric([value], number)
    return family
