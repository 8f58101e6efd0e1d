"""Events: what handlers of the terminal signals and of progress are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.exceptions import InvalidStateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy_bgfetch.registration import BackgroundFetchRegistration


class BackgroundFetchEvent:
    """Something happened to a background fetch.

    :ivar type: ``progress``, ``backgroundfetchsuccess``, ``backgroundfetchfail``,
        ``backgroundfetchabort`` or ``backgroundfetchclick``.
    :ivar active: True until all of its handlers have ended (behaviour 38).
    """

    def __init__(self, type: str, registration: BackgroundFetchRegistration) -> None:
        self.type = type
        self.registration = registration
        self.active = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type} {self.registration.id!r}>"


class BackgroundFetchUpdateUIEvent(BackgroundFetchEvent):
    """The success or the failure of a background fetch (behaviour 37)."""

    _updated = False

    async def update_ui(
        self, *, title: str | None = None, icons: Sequence[Any] | None = None
    ) -> None:
        """Change title or icons, once, while the event is active (behaviour 85).

        :raises InvalidStateError: called a second time, or too late.
        """
        if self._updated:
            raise InvalidStateError("update_ui can be called only once for an event.")
        if not self.active:
            raise InvalidStateError(
                "update_ui came too late: all handlers of the event have ended."
            )
        self._updated = True
        await self.registration.update(title=title, icons=icons)
