"""Grouped requests that wait to join their group: many at a time share a commit."""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import TYPE_CHECKING

from attrs import define, field

from scrapy_bgfetch.exceptions import BackgroundFetchError, BadRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from scrapy import Request

    from scrapy_bgfetch.perform.live import Group
    from scrapy_bgfetch.rules.group_options import GroupOptions


@define(eq=False)
class Joining:
    """A grouped request that waits until it is a record.

    :ivar over: done when it is one, or has failed, or is waited for no more.
    """

    request: Request
    options: GroupOptions
    over: asyncio.Future[None] = field(
        init=False, factory=lambda: asyncio.get_running_loop().create_future()
    )

    def agrees(self, other: Joining) -> bool:
        """Whether another one says the same of the group."""
        return self.options == other.options

    def end(self, error: BaseException | None = None) -> None:
        """Let it go on, or fail, if anybody waits for it still."""
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)


class Queue:
    """Lets the requests of one group join in turn.

    :param join: lets requests join that say the same of their group; it may put some
        back. When it raises, those that are not over by then are tried one by one: what
        it raises then is the failure of that one.
    """

    def __init__(
        self, join: Callable[[GroupOptions, Sequence[Joining]], Awaitable[None]]
    ) -> None:
        self._join = join
        self._waiting: dict[str, list[Joining]] = {}
        self._turns: dict[str, asyncio.Task[None]] = {}

    async def join(self, request: Request, options: GroupOptions) -> None:
        """Return when a request has become a record of its group.

        Whoever gives up waiting takes it back, unless it is being written down.
        """
        joining, id = Joining(request, options), options.id
        self._waiting.setdefault(id, []).append(joining)
        if id not in self._turns:
            self._turns[id] = asyncio.ensure_future(self._take_turns(id))
        await joining.over

    def put_back(self, joining: Sequence[Joining]) -> None:
        """Let requests of one group be the next ones."""
        if joining:
            id = joining[0].options.id
            self._waiting[id] = [*joining, *self._waiting.get(id, ())]

    async def _take_turns(self, id: str) -> None:
        turn: list[Joining] = []
        try:
            while waiting := self._waiting.pop(id, None):
                turn = list(takewhile(waiting[0].agrees, waiting))
                self.put_back(waiting[len(turn) :])
                await self._join_together(turn)
        finally:
            del self._turns[id]
            for one in (*turn, *self._waiting.pop(id, ())):
                one.over.cancel()  # there are some only when this was cancelled itself

    async def _join_together(self, joining: Sequence[Joining]) -> None:
        try:
            await self._join(joining[0].options, joining)
        except Exception as error:
            if len(joining) == 1:
                joining[0].end(error)
                return
            for one in joining:
                if not one.over.done():
                    await self._join_together([one])


def passing(
    joining: Iterable[Joining], check: Callable[[Request], None]
) -> list[Joining]:
    """Return those that wait and pass a check; the others fail by themselves."""
    found = []
    for one in joining:
        try:
            if not one.over.done():
                check(one.request)
                found.append(one)
        except BackgroundFetchError as error:
            one.end(error)
    return found


def split_by_room(
    group: Group, joining: Sequence[Joining]
) -> tuple[Sequence[Joining], Sequence[Joining]]:
    """Return those that are among the requests that a group expects, and the others.

    Once a group has all of its requests, the others fail.
    """
    if group.expected is None:
        return joining, ()
    room = group.expected - len(group.records)
    if room > 0:
        return joining[:room], joining[room:]
    for one in joining:
        error = BadRequestError(
            f"the group {group.row.id!r} has all of its {group.expected} requests "
            'already: say a larger number as "requests", or use another id.'
        )
        one.end(error)
    return (), ()
