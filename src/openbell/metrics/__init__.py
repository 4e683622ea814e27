"""A running session's counters, for Prometheus to scrape.

Nothing is counted here, and nothing is done until somebody asks: a scrape reads what the session
keeps anyway. Needs ``pip install 'openbell[metrics]'``.
"""

from openbell.metrics.collector import MeteredSession
from openbell.metrics.server import MetricsError, MetricsServer, serve_metrics

__all__ = ["MeteredSession", "MetricsError", "MetricsServer", "serve_metrics"]
