"""Settings: one YAML file, overridden by the environment, frozen, checked as a whole before
anything runs.

``FORETIDE_SOURCE__URL`` overrides ``source.url``; a double underscore goes one level down. The
knobs of every step are the params classes beside the code they steer; this module only composes
them, so a default is written in one place.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_type_hints

import yaml
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from features.civil import Calendar
from features.quality import QualityParams
from features.silences import Silence
from models.band import BandParams
from models.budgeted import BudgetedParams
from models.champion_fit import ChampionParams
from models.classical import ClassicalParams
from models.decomposition import DecompositionParams
from models.drift import DriftParams
from models.incidents import IncidentParams
from models.isolation_forest import IsolationForestParams
from models.memory_slope import MemorySlopeParams
from models.prophet import ProphetParams
from models.seasonal_level import SeasonalLevelParams
from models.seasonal_naive import SeasonalNaiveParams
from models.together import TogetherParams
from models.value import ValueParams
from pipelines.config_yaml import read_yaml
from pipelines.errors import ConfigError
from pipelines.hygiene import HygieneParams
from pipelines.report.data import ReportParams
from pipelines.settings_mcp import McpSettings
from pipelines.settings_names import DETECTORS, Detecting, Forecasting
from pipelines.settings_notify import NotifySettings
from pipelines.settings_outside import (
    ClusterSettings,
    IngestSettings,
    Section,
    SourceSettings,
    StoreSettings,
    TrackingSettings,
)
from pipelines.settings_prescale import PrescaleSettings
from pipelines.settings_publish import PublishSettings
from pipelines.settings_watch import WatchSettings

__all__ = ["CONFIG_DIR", "Settings", "load_settings"]

_HERE = Path(__file__).parent
# In a wheel the data lies inside the package; in a checkout it is the folder beside it.
CONFIG_DIR = _HERE / "config" if (_HERE / "config").is_dir() else _HERE.parent / "config"


class HistorySettings(Section):
    """How much of the past is read, and on which grid."""

    days: float = Field(default=28, gt=0)
    step_s: int | None = Field(default=None, gt=0, le=86400)
    """Length of a step; nothing means the samples' own resolution."""


class ForecastSettings(Section):
    """What is forecast, by which models, how far."""

    horizon_h: float = Field(default=168, gt=0)
    models: tuple[Forecasting, ...] = (
        "seasonal_naive",
        "seasonal_median",
        "seasonal_day",
        "seasonal_level",
        "seasonal_level_slow",
        "decomposition",
        "prophet",
    )
    refit: bool = True
    """Fit the live models again on what came since their training, before every forecast."""
    valid_for_h: float = Field(default=26, gt=0)
    """How long a published forecast may be used."""
    maximum_model_age_days: float = Field(default=14, gt=0)
    """An older model's floors are only shown, never acted on."""
    seasonal_naive: SeasonalNaiveParams = SeasonalNaiveParams()
    seasonal_level: SeasonalLevelParams = SeasonalLevelParams(seasons=4, recent_h=72.0)
    """The faster of the two: it looks at three days, so that a new level is soon believed."""
    seasonal_level_slow: SeasonalLevelParams = SeasonalLevelParams()
    decomposition: DecompositionParams = DecompositionParams()
    prophet: ProphetParams = ProphetParams()
    classical: ClassicalParams = ClassicalParams()
    """Only where ``models`` names it: statsmodels, for a share of the workloads."""
    champion: ChampionParams = ChampionParams()


class DetectSettings(Section):
    """What is anomalous, and what becomes an incident."""

    detectors: Detecting = DETECTORS
    """Who is asked; the band always is."""
    valid_for_h: float = Field(default=1, gt=0)
    """How long a published score may be used."""
    refit_every_h: float | None = Field(default=24, ge=0)
    """How often a replay over a file learns anew, as a schedule would; 0 or nothing: only once."""
    newcomer_every_h: float = Field(default=6, gt=0, le=24)
    """What came since the training is learned so often, at these hours of the UTC day."""
    regime_days: float = Field(default=3, gt=0)
    """So long after a deploy, bands and forests are learned from what came after it alone."""
    band: BandParams = BandParams()
    isolation_forest: IsolationForestParams = IsolationForestParams()
    together: TogetherParams = TogetherParams()
    memory_slope: MemorySlopeParams = MemorySlopeParams()
    own: BudgetedParams = BudgetedParams()
    """For each detector of a user's own."""
    leak_every_s: int = Field(default=3600, gt=0)
    """How often leaks are judged when a longer stretch is scored in one run."""
    regroup_h: float = Field(default=24, gt=0)
    """How far back scores are read again, so that an incident is told of once."""
    graph: str = ""
    """CSV file ``caller, callee`` of who calls whom: workload ids, or names as people write them;
    empty: the calls that were ingested, else neighbours are those of one namespace."""
    incidents: IncidentParams = IncidentParams()


class EvaluateSettings(Section):
    """Over which time a run is held against what came."""

    window_days: float = Field(default=7, gt=0)
    drift: DriftParams = DriftParams()
    value: ValueParams = ValueParams()


class ShardSettings(Section):
    """How work is cut; results do not depend on it.

    But for workloads younger than a day: those similar to them are looked for in their shard.
    """

    workloads: int = Field(default=500, gt=0)
    """Workloads a task."""
    workers: int = Field(default=2, gt=0)
    """Tasks at once; a cluster that is given has workers of its own."""
    tasks_max: int = Field(default=48, gt=0)
    """Task runs of a step under Prefect: where there are more shards, one takes several in turn."""
    backend: Literal["threads", "processes", "dask"] = "threads"
    """What runs them; ingest's always run on threads, which keep a source's pace together."""
    dask_address: str = ""
    """Of a scheduler, ``tcp://HOST:8786``; empty: a local cluster for the run."""
    max_failed_share: float = Field(default=0.0, ge=0, le=1)
    """A run is red when a larger share of its shards failed."""


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="FORETIDE_", env_nested_delimiter="__"
    )

    source: SourceSettings = SourceSettings()
    ingest: IngestSettings = IngestSettings()
    store: StoreSettings = StoreSettings()
    cluster: ClusterSettings = ClusterSettings()
    tracking: TrackingSettings = TrackingSettings()
    history: HistorySettings = HistorySettings()
    metrics: dict[str, dict[str, Any] | None] = Field(
        default_factory=dict[str, dict[str, Any] | None]
    )
    """What is known of your metrics, laid over the catalog: name → keys of ``Metric``."""
    calendars: tuple[Calendar, ...] = ()
    silences: tuple[Silence, ...] = ()
    quality: QualityParams = QualityParams()
    hygiene: HygieneParams = HygieneParams()
    forecast: ForecastSettings = ForecastSettings()
    detect: DetectSettings = DetectSettings()
    prescale: PrescaleSettings = PrescaleSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    publish: PublishSettings = PublishSettings()
    notify: NotifySettings = NotifySettings()
    report: ReportParams = ReportParams()
    report_days: float = Field(default=14, gt=0)
    """How much of the past the report charts."""
    shards: ShardSettings = ShardSettings()
    watch: WatchSettings = WatchSettings()
    mcp: McpSettings = McpSettings()
    extensions_path: str = ""
    """A folder with modules of the user's own; empty: only installed packages are imported."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_settings(path: str | Path | Mapping[str, Any] | None = None) -> Settings:
    """Read and check the configuration.

    Parameters
    ----------
    path
        A YAML file, or what one would hold; nothing means the defaults.

    Raises
    ------
    ConfigError
        The file cannot be read, or a key or value is wrong; the text names every one of them.
    """
    file = None if isinstance(path, Mapping) else path
    given = path if isinstance(path, Mapping) else {}
    data = given if file is None else _read_yaml(Path(file))
    try:
        return Settings(**data)
    except ValidationError as error:
        raise ConfigError(_explain(error, file)) from None
    except SettingsError as error:
        raise ConfigError(f"environment: {error}; write lists and maps as JSON") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data: Any = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected sections like `source:`, got {type(data).__name__}")
    return {str(key): value for key, value in cast("dict[object, Any]", data).items()}


def _explain(error: ValidationError, path: str | Path | None) -> str:
    where = path or "configuration"
    problems: list[str] = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        variable = "FORETIDE_" + key.replace(".", "__").upper()
        key = f"{variable}, {key}" if variable in os.environ else key
        if item["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            problems.append(f"unknown key {key!r}{_similar(item['loc'])}")
        else:
            problems.append(f"{key}: {item['msg'].removeprefix('Value error, ')}{_came(item)}")
    return f"{where}: " + "; ".join(problems)


def _came(item: ErrorDetails) -> str:
    """What was given, where that is one plain value and no secret."""
    given, text = item["input"], item["msg"]
    plain = isinstance(given, str | int | float | bool) or given is None
    return (
        f", got {given!r}" if plain and "headers" not in item["loc"] and "got" not in text else ""
    )


def _similar(loc: tuple[int | str, ...]) -> str:
    section: Any = Settings
    for part in loc[:-1]:
        # a place in a list stands for the list's kind of thing
        is_place = isinstance(part, int)
        section = next(iter(get_args(section)), None) if is_place else _fields(section).get(part)
    known = _fields(section)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f"; known: {', '.join(known)}"


def _fields(section: Any) -> dict[str, Any]:
    if section is None:
        return {}
    models: dict[str, Any] | None = getattr(section, "model_fields", None)
    if models is not None:
        return {name: info.annotation for name, info in models.items()}
    return get_type_hints(section) if isinstance(section, type) else {}
