"""doctor: what is missing before the steps can run, one line a check, with what to do about it.

``warn`` is something that works less well or is not there yet, ``fail`` something that stops a
step. Nothing is changed: no store is made, no database migrated, no query is longer than minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import httpx
import pandas as pd
import pyarrow as pa

from features.frames import CAPACITY, FORECASTS, SCORES, Contract
from features.metrics import Catalog
from pipelines.adapters.prometheus import PrometheusSource
from pipelines.adapters.store import Store
from pipelines.checks_net import check_mlflow, check_prefect, check_prometheus
from pipelines.errors import ConfigError, StoreError
