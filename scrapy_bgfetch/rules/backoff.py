"""When to try again, and how often."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from attrs import evolve, frozen

from scrapy_bgfetch.rules.content_range import parse_number

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_MONTH = f"(?P<month>{_MONTHS})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_IMF_FIXDATE = re.compile(
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>[0-9]{{2}}) {_MONTH}"
    rf" (?P<year>[0-9]{{4}}) {_TIME} GMT"
)
_RFC850_DATE = re.compile(
    r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
    rf"(?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"
)
_ASCTIME_DATE = re.compile(
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[0-9]{{2}}| [0-9])"
    rf" {_TIME} (?P<year>[0-9]{{4}})"
)


def delay(retry: int, *, base: float, cap: float, jitter: float) -> float:
    """Return how many seconds to wait before a retry.

    ``retry`` counts from 1 since the last progress. The whole delay doubles from
    ``base`` up to ``cap``; ``jitter``, drawn by the caller from [0, 1), chooses
    between its half and the whole of it. Defined for any ``retry``, however large.
    """
    whole = min(cap, base * 2.0 ** min(retry - 1, 1000))
    return whole * (1 + jitter) / 2


def parse_imf_fixdate(value: str | None) -> float | None:
    """Return the seconds since the epoch of a date in the preferred form.

    That is the only form a sender may generate (RFC 9110 section 5.6.7). None
    for anything else.
    """
    match = _IMF_FIXDATE.fullmatch(value or "")
    return _timestamp(match, int(match["year"])) if match else None


def parse_http_date(value: str, *, now: float) -> float | None:
    """Return the seconds since the epoch of a date in any of HTTP's three forms.

    A year of two digits that seems to be more than 50 years after ``now`` is in
    the past (RFC 9110 section 5.6.7). None when the value is not a date.
    """
    if match := _RFC850_DATE.fullmatch(value):
        return _timestamp(match, _full_year(int(match["year"]), now))
    if match := _ASCTIME_DATE.fullmatch(value):
        return _timestamp(match, int(match["year"]))
    return parse_imf_fixdate(value)


def _full_year(two_digits: int, now: float) -> int:
    this_year = datetime.fromtimestamp(now, timezone.utc).year
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year


def _timestamp(match: re.Match[str], year: int) -> float | None:
    month = _MONTHS.split("|").index(match["month"]) + 1
    day, hour, minute = (int(match[name]) for name in ("day", "hour", "minute"))
    second = int(match["second"])
    leap = second == 60
    try:
        moment = datetime(
            year, month, day, hour, minute, second - leap, tzinfo=timezone.utc
        )
    except ValueError:
        return None
    return moment.timestamp() + leap


def parse_retry_after(value: str | None, *, now: float, cap: float) -> float | None:
    """Return for how many seconds a Retry-After field asks (RFC 9110 10.2.3).

    Takes seconds or a date in any of HTTP's three forms; never more than ``cap``
    and never less than 0, also for a date in the past or a negative number. None
    when there is no field or it makes no sense.
    """
    text = (value or "").strip(" \t")
    if re.fullmatch("[0-9]+", text):
        number = parse_number(text)
        seconds = cap if number is None else float(number)
    elif re.fullmatch("-[0-9]+", text):
        seconds = 0.0
    elif (date := parse_http_date(text, now=now)) is not None:
        seconds = date - now
    else:
        return None
    return min(max(0.0, seconds), cap)


@frozen
class Budgets:
    """How often a record may still start over, and how often go on.

    A *restart* is spent each time stored bytes are thrown away (see
    :func:`scrapy_bgfetch.rules.resume.discards`), a *resumption* each time an
    attempt ends in RetryLater. Progress, that is bytes that were stored, refills
    the resumptions. It never refills the restarts: otherwise a server that gives
    a few bytes and then another ETag, each time, would never be done with. Between
    two restarts the stored bytes only grow, so bodies of up to ``n`` bytes take at
    most ``(restarts + 1) * (resumptions + 1) * (n + 2)`` attempts (B4, B5, B11).
    """

    restarts: int
    resumptions: int

    def spend_restart(self) -> Budgets | None:
        """Return what is left after one more restart, None when none was left."""
        if self.restarts <= 0:
            return None
        return evolve(self, restarts=self.restarts - 1)

    def spend_resumption(self) -> Budgets | None:
        """Return what is left after one more resumption, None when none was left."""
        if self.resumptions <= 0:
            return None
        return evolve(self, resumptions=self.resumptions - 1)

    def progressed(self, initial: Budgets) -> Budgets:
        """Return the budgets after progress: the resumptions of ``initial`` again."""
        return evolve(self, resumptions=initial.resumptions)
