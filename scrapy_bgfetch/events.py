"""Events: what handlers of the terminal signals and of progress are given."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.exceptions import BadRequestError, InvalidStateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrapy_bgfetch.registration import BackgroundFetchRegistration


class BackgroundFetchEvent:
    """Something happened to a background fetch.

    :ivar type: ``progress``, ``backgroundfetchsuccess``, ``backgroundfetchfail``,
        ``backgroundfetchabort`` or ``backgroundfetchclick``.
    """

    def __init__(self, type: str, registration: BackgroundFetchRegistration) -> None:
        self.type = type
        self.registration = registration
        self._active = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type} {self.registration.id!r}>"

    @property
    def active(self) -> bool:
        """True until all of its handlers, and the hooks after them, have ended (38).

        Never True for an event that you have made yourself.
        """
        return self._active

    @contextmanager
    def dispatching(self) -> Iterator[None]:
        """Keep it active while its handlers run."""
        self._active = True
        try:
            yield
        finally:
            self._active = False


class BackgroundFetchUpdateUIEvent(BackgroundFetchEvent):
    """The success or the failure of a background fetch (behaviour 37)."""

    _updated = False

    async def update_ui(
        self, *, title: str | None = None, icons: Sequence[Any] | None = None
    ) -> None:
        """Change title or icons, once, while the event is active (behaviour 85).

        What is not given stays as it is; with nothing given that was the one call
        too (240). A call that raises BadRequestError was none. When this returns,
        the change is kept in the state.

        :param title: at least one character, at most 1 MiB in UTF-8 (180).
        :raises InvalidStateError: called a second time, or when all handlers of the
            event have ended, or on an event that was never sent.
        :raises BadRequestError: title or icons cannot be used.
        """
        if self._updated:
            raise InvalidStateError("update_ui can be called only once for an event.")
        if not self.active:
            raise InvalidStateError(
                "update_ui works only while the handlers of the event run: they have "
                "ended, or it is an event that was never sent."
            )
        if title == "":
            raise BadRequestError(
                "title is empty: leave it out to keep the one that there is."
            )
        self._updated = True
        try:
            await self.registration.update(title=title, icons=icons)
        except BadRequestError:
            self._updated = False
            raise
