"""The names of all stats: what a crawl counts of its background fetches.

No other module writes a name: the reference page is made from here.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class Stat:
    """One counter among Scrapy's stats, or one for each value of a part in braces.

    ``unit`` says what is counted, ``doc`` when.
    """

    name: str
    unit: str
    doc: str

    def key(self, **parts: object) -> str:
        """Return the key in Scrapy's stats.

        :raises KeyError: a part of the name is missing.
        """
        return self.name.format(**parts) if "{" in self.name else self.name


REGISTERED = Stat(
    "bgfetch/registered", "background fetches",
    "Registered in this run, by ``fetch`` or by a grouped request.",
)  # fmt: skip
RESUMED = Stat(
    "bgfetch/resumed", "background fetches",
    "Taken up at the start: left unfinished, or not wholly delivered, by an "
    "earlier run.",
)  # fmt: skip
FRESH = Stat(
    "bgfetch/fresh", "background fetches",
    "Calls of ``fetch`` that fetched nothing: what an earlier one had fetched was "
    "fresh (``skip_if_fresh``).",
)  # fmt: skip
PROGRESS = Stat(
    "bgfetch/progress", "events",
    "Progress events sent, the last one of each background fetch among them.",
)  # fmt: skip
RECORD_SETTLED = Stat(
    "bgfetch/record_settled", "records",
    "Records that have ended, well or not.",
)  # fmt: skip
RECORD_SETTLED_AS = Stat(
    "bgfetch/record_settled/{reason}", "records",
    "The same by how they ended: ``success``, or the record's failure reason.",
)  # fmt: skip
NOT_MODIFIED = Stat(
    "bgfetch/not_modified", "records",
    "Records that succeeded with the file of an earlier background fetch: the "
    "server said that it is the same still (``revalidate``).",
)  # fmt: skip
DOWNLOADED_BYTES = Stat(
    "bgfetch/downloaded_bytes", "bytes",
    "Sizes of the files of records that succeeded, decoded, whichever run brought "
    "the bytes. Not those that were not modified.",
)  # fmt: skip
WIRE_BYTES = Stat(
    "bgfetch/wire_bytes", "bytes",
    "Bytes of bodies that came over the network for records that have ended, as "
    "they came, all attempts of all runs together. Pages of bad statuses do not "
    "count.",
)  # fmt: skip
SUCCESS = Stat(
    "bgfetch/success", "background fetches", "Ended, and all records succeeded."
)  # fmt: skip
FAIL = Stat(
    "bgfetch/fail", "background fetches", "Ended, and at least one record failed."
)  # fmt: skip
ABORT = Stat("bgfetch/abort", "background fetches", "Ended by ``abort``.")
CLICK = Stat("bgfetch/click", "clicks", "Clicks, also on those that have ended.")
HANDLER_ERRORS = Stat(
    "bgfetch/handler_errors", "errors",
    "Handlers of the signals, and progress listeners, that raised. The others were "
    "called all the same.",
)  # fmt: skip
HANDLER_ERRORS_OF = Stat(
    "bgfetch/handler_errors/{signal}", "errors",
    "The same by the name of the signal; ``progress`` for progress listeners.",
)  # fmt: skip
PLUGIN_ERRORS = Stat(
    "bgfetch/plugin_errors", "errors",
    "Plug-ins that could not be loaded, and hooks that raised where they may not "
    "refuse.",
)  # fmt: skip
PLUGIN_ERRORS_OF = Stat(
    "bgfetch/plugin_errors/{plugin}", "errors",
    "The same by the name of the plug-in.",
)  # fmt: skip

STATS: tuple[Stat, ...] = tuple(
    value for value in globals().values() if isinstance(value, Stat)
)
