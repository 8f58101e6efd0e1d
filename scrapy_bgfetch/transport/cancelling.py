"""Cancelling the task that waits, instead of one that is made only for that."""

from __future__ import annotations

import asyncio
from typing import Any


class Limit:
    """Cancels what the current task awaits when the seconds have passed; 0 is never.

    As asyncio.timeout does it, which Python 3.10 has not.
    """

    def __init__(self, seconds: float) -> None:
        self._task = asyncio.current_task()
        self._passed = False
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._pass) if seconds else None

    def passed(self) -> bool:
        """Whether this, and nobody else, has cancelled the task; takes that back."""
        return self._passed and take_back(self._task)

    def stop(self) -> None:
        """Cancel no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _pass(self) -> None:
        assert self._task is not None
        self._passed = True
        self._task.cancel()


def take_back(task: asyncio.Task[Any] | None) -> bool:
    """Take back that a task was cancelled; return whether nobody else has done it."""
    uncancel = getattr(task, "uncancel", None)  # from Python 3.11 on
    return uncancel is None or uncancel() == 0
