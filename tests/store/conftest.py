from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scrapy_bgfetch.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from scrapy_bgfetch.store.base import Store

# One factory for each store: the same place is the same state, a new place is empty.
FACTORIES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda place: SQLiteStore(place / "state.sqlite"),
}


@pytest.fixture(params=sorted(FACTORIES))
def make_store(request: pytest.FixtureRequest) -> Callable[[Path], Store]:
    return FACTORIES[request.param]


@pytest.fixture
async def store(
    make_store: Callable[[Path], Store], tmp_path: Path
) -> AsyncIterator[Store]:
    store = make_store(tmp_path)
    await store.open()
    yield store
    await store.close()
