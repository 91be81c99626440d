"""What a flow run adds to a flow's function: it waits for its share of what others use as well,
its state says how much failed, and its event starts what comes next.

Outside a flow run (the command line, a notebook, ``flow.fn``) the function is called as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ParamSpec, cast

from prefect.context import FlowRunContext

from pipelines.artifacts import Count, counting
from pipelines.clock import present
from pipelines.errors import ConfigError, ForetideError, HistoryError, InputError, ModelError
from pipelines.events import done, emit
from pipelines.outcome import Outcome
from pipelines.plain import plain

__all__ = ["CLUSTER", "SOURCE", "TRAINING", "as_run"]

SOURCE = "foretide-source"
"""Who pulls the metrics: its quotas and its bill are shared."""
TRAINING = "foretide-training"
"""Who learns and makes new versions live: one at a time, or the later would undo the earlier."""
CLUSTER = "foretide-cluster"
"""Who asks the cluster's API."""

_MESSAGE_CHARS = 1000
_MENDED_BY_A_PERSON = (ConfigError, InputError, HistoryError, ModelError)
"""Trying again does not help."""

P = ParamSpec("P")


def as_run(
    *limits: str, wait_max_s: float = 600.0
) -> Callable[[Callable[P, dict[str, Any]]], Callable[P, dict[str, Any]]]:
    """Stands between ``@flow`` and everything else of a verb.

    Parameters
    ----------
    limits
        Global concurrency limits of which a deployment's run takes a slot. They must exist: without
        them nothing would be limited, and nobody would know.
    wait_max_s
        A run that gets no slot in this time fails.
    """

    def decorate(function: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
        # types, not their names: Prefect would look those up in this module
        signature = inspect.signature(function, eval_str=True)

        @functools.wraps(function)
        def watched(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
            context = FlowRunContext.get()
            if context is None or context.flow is None or context.flow_run is None:
                return function(*args, **kwargs)
            of_deployment = context.flow_run.deployment_id is not None
            with counting() as count:
                try:
                    with _slots(limits if of_deployment else (), wait_max_s):
                        result = function(*args, **kwargs)
                except ForetideError as error:
                    _never_again(error)
                    if count.failed and "shards failed" not in str(error):
                        error.args = (f"{_share(count)}; {error}",)
                    raise
            asked = signature.bind_partial(*args, **kwargs).arguments
            if "as_of" in result and "run_id" in result:
                emit(done(context.flow.name, result, asked, present(), of_deployment=of_deployment))
            return cast("dict[str, Any]", _completed(result, count))

        watched.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        return watched

    return decorate


@contextmanager
def _slots(limits: tuple[str, ...], wait_max_s: float) -> Generator[None]:
    if not limits:
        yield
        return
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.concurrency.sync import concurrency

    # a lease that is lost in mid-run does not kill it: what it wrote so far is good
    held = concurrency(
        list(limits), strict=True, timeout_seconds=wait_max_s, raise_on_lease_renewal_failure=False
    )
    try:
        held.__enter__()
    except TimeoutError as error:
        raise ForetideError(
            f"waited {wait_max_s:g} s for {', '.join(limits)}: others hold every slot; look for "
            "one that hangs, or raise it: prefect global-concurrency-limit update NAME --limit N"
        ) from error
    except ConcurrencySlotAcquisitionError as error:
        raise ConfigError(
            f"{', '.join(limits)}: {error}; `python -m pipelines.deploying` creates them"
        ) from error
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def _share(count: Count) -> str:
    return f"{count.failed} of {count.asked} shards failed"


def _never_again(error: ForetideError) -> None:
    """Take the retries away from a run that can only fail again."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import FlowRunPolicy

    context = FlowRunContext.get()
    if not isinstance(error, _MENDED_BY_A_PERSON) or not context or not context.flow_run:
        return
    if context.flow_run.empirical_policy.retries:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, empirical_policy=FlowRunPolicy(retries=0))


def _completed(result: dict[str, Any], count: Count) -> Any:
    """Green, with what it did as its message; how much failed stands first."""
    from prefect.states import Completed

    known = {k: v for k, v in result.items() if k in Outcome.__dataclass_fields__}
    told = Outcome(**known).line() if "verb" in result else ""
    if count.failed:
        told = f"partly: {_share(count)}; {told}"
    return Completed(message=plain(told)[:_MESSAGE_CHARS] or None, data=result)
