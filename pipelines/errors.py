"""The error tree. Whoever catches ``ForetideError`` has caught everything that we raise on purpose.

::

    ForetideError              one clear line, exit code 1
    ├── ConfigError            a key or value in the configuration, or an option, is wrong
    ├── SourceError            metrics could not be had
    │   ├── SourceUnreachable  no answer, or none in time
    │   ├── QueryFailed        the server answered, and said no
    │   │   ├── QueryTooLarge  … to the smallest part of it that can be asked for
    │   │   └── AccessDenied   … to who we are: the text names the principal, never its secret
    │   └── EmptyResult        the server answered, and there was nothing
    ├── InputError             a file given by the user cannot be read as samples
    ├── StoreError             the Parquet store is missing, damaged or of another version
    ├── ClusterError           the Kubernetes API said no, or nothing
    │   ├── ClusterUnreachable no answer, none in time, or 429/5xx again and again
    │   ├── ClusterForbidden   401 or 403: the text names the verb, the resource and who we are
    │   ├── ObjectMissing      404: the object or its kind is not there
    │   ├── ObjectChanged      409: it was changed, or recreated, since it was read
    │   ├── FieldConflict      409 of an apply: other managers own the field; it names them
    │   └── ObjectRefused      400, 422 and the like: the server found the content wrong
    ├── DeliveryError          a channel did not take a message; never holds its address' secret
    ├── ModelError             no model, or one that does not load and score
    └── HistoryError           there are samples, and too few to do what was asked

``features.frames.FrameError`` is the pure layers' word for a broken table; doors translate it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "AccessDenied",
    "ClusterError",
    "ClusterForbidden",
    "ClusterUnreachable",
    "ConfigError",
    "DeliveryError",
    "EmptyResult",
    "FieldConflict",
    "ForetideError",
    "HistoryError",
    "InputError",
    "ModelError",
    "ObjectChanged",
    "ObjectMissing",
    "ObjectRefused",
    "QueryFailed",
    "QueryTooLarge",
    "SourceError",
    "SourceUnreachable",
    "StoreError",
]


class ForetideError(Exception):
    """Something that the user can understand and act on; the text is one clear line."""

    figures: Mapping[str, float] = MappingProxyType({})
    """What the run that failed has counted until then, for the table of runs."""


class ConfigError(ForetideError):
    """A key or value in the configuration, or an option, is wrong."""


class SourceError(ForetideError):
    """Metrics could not be had from a source."""


class SourceUnreachable(SourceError):
    """The source did not answer, or not in time."""


class QueryFailed(SourceError):
    """The source answered and refused; the text names the query and what the server said."""


class QueryTooLarge(QueryFailed):
    """Even one step would be more than the source, or whoever asks it, allows."""


class AccessDenied(QueryFailed):
    """The source knows or does not know who we are, and lets us read nothing."""


class EmptyResult(SourceError):
    """The source answered with nothing at all."""


class InputError(ForetideError):
    """A file given by the user cannot be read as samples."""


class StoreError(ForetideError):
    """The Parquet store is missing, damaged or of another version."""


class ClusterError(ForetideError):
    """The Kubernetes API said no, or nothing."""


class ClusterUnreachable(ClusterError):
    """The API server did not answer, not in time, or was overloaded however often it was asked."""


class ClusterForbidden(ClusterError):
    """The API server does not let us; the text names verb, resource and who we are."""


class ObjectMissing(ClusterError):
    """The object, or the kind of object, is not there."""


class ObjectChanged(ClusterError):
    """The object was changed or recreated since it was read."""


class FieldConflict(ClusterError):
    """Other managers own a field that we wanted to apply.

    ``owners`` is manager → the fields it owns, as the server told.
    """

    def __init__(self, text: str, owners: Mapping[str, tuple[str, ...]]) -> None:
        """Keep who owns what beside the text."""
        super().__init__(text)
        self.owners = dict(owners)


class ObjectRefused(ClusterError):
    """The API server found the content wrong."""


class DeliveryError(ForetideError):
    """A channel did not take a message; ``is_lasting`` says that sending it again is no use."""

    def __init__(self, text: str, *, is_lasting: bool = False) -> None:
        """Keep whether it lasts beside the text."""
        super().__init__(text)
        self.is_lasting = is_lasting


class ModelError(ForetideError):
    """No model is registered, or the registered one does not load and score."""


class HistoryError(ForetideError):
    """There are samples, and too few to do what was asked."""
