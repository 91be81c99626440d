"""The report: tables in, one self-contained HTML file out.

``data`` says what goes in, ``render`` makes the file with its ``assets``; ``index`` and ``scored``
order the tables by workload; ``view``, ``facts``, ``trouble`` (with ``causes`` and ``evidence``),
``prescaling``, ``verdicts``, ``value``, ``models`` (from ``backtests``), ``words`` and ``text`` say
it in words, ``charts`` and ``lines`` draw it. ``fill`` is the one module that reads the store.
"""

from __future__ import annotations

from pipelines.report.data import ReportData, ReportParams
from pipelines.report.render import render_report

__all__ = ["ReportData", "ReportParams", "render_report"]
