"""A process to be killed, on a disk that fills up: it prints what was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType

# The store needs no Scrapy, but its exceptions do: only the package is left out.
package = ModuleType("scrapy_bgfetch")
package.__path__ = [str(Path(__file__).parents[2] / "scrapy_bgfetch")]
sys.modules["scrapy_bgfetch"] = package

from scrapy_bgfetch.exceptions import StoreFull  # noqa: E402
from scrapy_bgfetch.model import RecordRow, RegistrationRow  # noqa: E402
from scrapy_bgfetch.store.sqlite import SQLiteStore  # noqa: E402


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def insist(coroutine_function, *args):
    """Ask until the disk is not full any more."""
    while True:
        try:
            return await coroutine_function(*args)
        except StoreFull:
            say("full")


async def main(path: Path) -> None:
    store = SQLiteStore(path)
    await insist(store.open)
    if await store.get("u") is None:
        await insist(store.register, RegistrationRow("u", "id", "s"), [])
    index = len(await store.records("u"))
    while True:
        record = RecordRow("u", index, "https://example.org/", error="x" * 2000)
        await insist(store.extend, "u", [record])
        say(index)
        index += 1


asyncio.run(main(Path(sys.argv[1])))
