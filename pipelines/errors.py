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
    ├── ModelError             no model, or one that does not load and score
    └── HistoryError           there are samples, and too few to do what was asked

``features.frames.FrameError`` is the pure layers' word for a broken table; doors translate it.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "ConfigError",
    "EmptyResult",
    "ForetideError",
    "HistoryError",
    "InputError",
    "ModelError",
    "QueryFailed",
    "QueryTooLarge",
    "SourceError",
    "SourceUnreachable",
    "StoreError",
]


class ForetideError(Exception):
    """Something that the user can understand and act on; the text is one clear line."""


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


class ModelError(ForetideError):
    """No model is registered, or the registered one does not load and score."""


class HistoryError(ForetideError):
    """There are samples, and too few to do what was asked."""
