"""The HTML report: one file that shows a session, offline, in any browser of today."""

from openbell.report.page import plotly_script, write_report

__all__ = ["plotly_script", "write_report"]
