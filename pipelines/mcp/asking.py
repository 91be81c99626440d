"""How a question becomes an answer: a run of this moment, a thread, a bound, short errors."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import ToolResult
from pydantic import BaseModel
from pydantic import ValidationError as PydanticError

from features.frames import FrameError
from pipelines.answers.shared import NoSuchName, data
from pipelines.clock import present
from pipelines.errors import ForetideError
from pipelines.run import Run, RunRef

__all__ = ["Desk", "ShortErrors"]

_log = logging.getLogger("foretide.mcp")
_ERROR_TEXT = 300
_READERS = 4
_WRONG_ARGUMENTS = 3


@dataclass(frozen=True, slots=True)
class Desk:
    """Where questions are answered.

    Attributes
    ----------
    config, out : as of every verb
    as_of : a clock that stands; nothing is the present, of every question anew
    timeout_s : after which a question gets no answer
    """

    config: str | None = None
    out: str | None = None
    as_of: str | None = None
    timeout_s: float = 60.0
    _light: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_READERS))
    _heavy: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))

    def open(self) -> Run:
        """A run at the clock of the question."""
        return RunRef.resolve(self.config, None, self.out, self.as_of, present()).open()

    async def ask(
        self,
        answer: Callable[[Run], BaseModel],
        *,
        heavy: bool = False,
        timeout_s: float | None = None,
    ) -> ToolResult:
        """The answer as a tool gives it; ``heavy`` ones come one after the other.

        Raises
        ------
        ToolError
            There is none: the text is short, and what of it is not ours is under ``data``.
        """
        found = await self.find(answer, heavy=heavy, timeout_s=timeout_s)
        told: dict[str, Any] = found.model_dump(mode="json")
        return ToolResult(content=json.dumps(told, ensure_ascii=False), structured_content=told)

    async def find(
        self,
        answer: Callable[[Run], BaseModel],
        *,
        heavy: bool = False,
        timeout_s: float | None = None,
    ) -> BaseModel:
        """The same, as it is."""
        seconds = self.timeout_s if timeout_s is None else timeout_s
        turn = self._heavy if heavy else self._light

        def work() -> BaseModel:
            # what was given up goes on in its thread: it keeps its turn until it ends
            if not turn.acquire(timeout=seconds):
                raise ToolError("busy: other questions are being answered; ask again soon")
            try:
                return answer(self.open())
            finally:
                turn.release()

        try:
            with anyio.fail_after(seconds):
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        except TimeoutError:
            raise ToolError(
                f"no answer within {seconds:g} s (mcp.timeout_s): ask for less"
            ) from None
        except ToolError:
            raise
        except NoSuchName as error:
            raise ToolError(_named(error)) from None
        except (ForetideError, FrameError) as error:
            raise ToolError(f"no answer: {_as_data(str(error))}") from None
        except Exception as error:  # noqa: BLE001  told in a line, logged as a whole
            _log.exception("a question broke")
            raise ToolError(
                f"unexpected {type(error).__name__}: the server's log says where"
            ) from None


def _named(error: NoSuchName) -> str:
    close = [data(name).model_dump() for name in error.close]
    return f"{error}; close are {json.dumps(close, ensure_ascii=False)}" if close else str(error)


def _as_data(text: str) -> str:
    return json.dumps(data(text, _ERROR_TEXT).model_dump(), ensure_ascii=False)


class ShortErrors(Middleware):
    """Wrong calls are told of in a line, without what came with them."""

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, ToolResult]
    ) -> ToolResult:
        """Pass on, and shorten what comes back."""
        try:
            return await call_next(context)
        except NotFoundError:
            raise ToolError("there is no such tool; ask for the list of tools") from None
        except ValidationError as error:
            raise ToolError(_wrong(error.__cause__)) from None


def _wrong(cause: BaseException | None) -> str:
    if not isinstance(cause, PydanticError):
        return "wrong arguments: see the tool's input schema"
    found = cause.errors(include_input=False, include_url=False, include_context=False)
    told = [
        f"{'.'.join(str(part) for part in item['loc'])[:60]}: {item['msg'][:160]}"
        for item in found[:_WRONG_ARGUMENTS]
    ]
    return "wrong arguments: " + "; ".join(told)
