"""Real metric servers, one of each kind a module.

They keep what they were given: tests that load must use clusters of their own name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from metric_servers import MetricsServer, serving


@pytest.fixture(scope="module")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsServer]:
    with serving("prometheus", tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.fixture(scope="module")
def victoria_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsServer]:
    with serving("victoria-metrics", tmp_path_factory.mktemp("victoria")) as server:
        yield server


@pytest.fixture
def passing_server(tmp_path: Path) -> Iterator[MetricsServer]:
    """A server that the test may stop."""
    with serving("victoria-metrics", tmp_path) as server:
        yield server
