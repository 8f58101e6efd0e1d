"""A process to be killed: it prints each offset that the store has acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType

# The store needs no Scrapy, whose import would take most of the process's time.
package = ModuleType("scrapy_bgfetch")
package.__path__ = [str(Path(__file__).parents[2] / "scrapy_bgfetch")]
sys.modules["scrapy_bgfetch"] = package

from scrapy_bgfetch.model import RecordRow, RegistrationRow  # noqa: E402
from scrapy_bgfetch.store.base import Mark  # noqa: E402
from scrapy_bgfetch.store.sqlite import SQLiteStore  # noqa: E402


async def main(path: Path, how: str) -> None:
    store = SQLiteStore(path)
    await store.open()
    if await store.get("u") is None:
        rows = [RecordRow("u", index, "https://example.org/") for index in range(2)]
        await store.register(RegistrationRow("u", "id", "s"), rows)
    attempts = [await store.claim("u", index) for index in range(2)]
    stored = (await store.records("u"))[0].stored
    while True:
        stored += 1
        marks = [Mark("u", index, attempts[index], stored) for index in range(2)]
        waiter = asyncio.ensure_future(store.checkpoint(marks))
        if how == "leave" and stored > 100:
            await asyncio.sleep(0)
            return  # neither awaited nor closed
        await waiter
        sys.stdout.write(f"{stored}\n")
        sys.stdout.flush()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
