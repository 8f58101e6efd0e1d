"""What must hold after each run of the crash test, and at its end."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from scrapy_bgfetch.rules.file_names import part_name
from tests.support.resuming import offset

if TYPE_CHECKING:
    from aiohttp import web

    from tests.support.crash_plan import Round
    from tests.support.crawl_process import Crawl
    from tests.support.site import Site

ENDS = ("success", "fail", "abort")
OF_RECORDS = ("record_settled", "record_settled hook")
OF_GROUPS = ("settled hook", "end")
Row = dict[str, Any]


@frozen
class State:
    """What the state says, read from a copy: the next run finds it as it was."""

    registrations: list[Row] = field(factory=list)
    records: list[Row] = field(factory=list)
    faults: list[str] = field(factory=list)

    @classmethod
    def read(cls, folder: Path) -> State:
        with tempfile.TemporaryDirectory() as copy:
            for name in ("state.sqlite", "state.sqlite-wal"):
                if (folder / name).exists():
                    shutil.copy(folder / name, copy)
            if not Path(copy, "state.sqlite").exists():
                return cls()
            with closing(sqlite3.connect(Path(copy, "state.sqlite"))) as con:
                return cls._read(con)

    @classmethod
    def _read(cls, con: sqlite3.Connection) -> State:
        con.row_factory = sqlite3.Row

        def rows(query: str) -> list[Row]:
            return [dict(row) for row in con.execute(query)]

        faults = [
            f"integrity_check: {row}"
            for (row,) in con.execute("PRAGMA integrity_check")
            if row != "ok"
        ]
        if not rows("SELECT 1 FROM sqlite_master"):
            return cls(faults=faults)
        for check in _SUMS:
            what, _, query = check.partition(", ")
            faults += [f"{what}: {row}" for row in rows(query)]
        return cls(
            rows("SELECT * FROM registrations"),
            rows(
                "SELECT records.*, id FROM records JOIN registrations USING (uid)",
            ),
            faults,
        )


_SUMS = (
    """downloaded of a registration, SELECT id, downloaded,
    (SELECT total(stored) FROM records WHERE uid = registrations.uid) AS stored
    FROM registrations WHERE stored != downloaded""",
    """downloaded of all, SELECT downloaded,
    (SELECT total(downloaded) FROM registrations) AS sum
    FROM totals WHERE sum != downloaded""",
)


@define
class Checks:
    """Looks at the folder after each run; ``faults`` says what was wrong."""

    folder: Path
    site: Site
    state: State = field(factory=State)
    log: list[Row] = field(factory=list)
    runs: int = 0
    faults: list[str] = field(factory=list)
    no_callback: list[str] = field(factory=list)
    phases: Counter[str] = field(factory=Counter)
    unrecorded: int = 0
    _seen: int = 0

    def is_known(self, id: str) -> bool:
        return any(row["id"] == id for row in self.state.registrations)

    def is_done(self, id: str) -> bool:
        return any(
            row["id"] == id and row["result"] for row in self.state.registrations
        )

    def is_delivered(self, id: str) -> bool:
        return any(
            row["id"] == id and row["delivered"] for row in self.state.registrations
        )

    # -- after each run ----------------------------------------------------------

    def after_run(self, crawl: Crawl) -> None:
        """Compare the log, the state and the disk with what they were before."""
        said = [_plain(one) for one in crawl.events()]
        seen, self._seen = self.site.seen[self._seen :], len(self.site.seen)
        self.runs += 1
        self._resumed(seen)
        self._not_twice(said)
        self.log += said
        self.state = State.read(self.folder / "bgfetch")
        self.faults += self.state.faults
        self._not_lost()
        self._on_disk()
        if crawl.process.returncode:
            begun = bool(seen or said)
            self.phases[self._phase(said) if begun else "the start"] += 1

    def _fault(self, what: str) -> None:
        self.faults.append(f"run {self.runs}: {what}")

    def _resumed(self, seen: list[web.Request]) -> None:
        """Each record goes on from the byte that the state had of it."""
        first = {request.path: request for request in reversed(seen)}
        for row in self.state.records:
            request = first.get(_path(row["url"]))
            if request is None or not _resumable(row):
                continue
            if row["state"] == "settled":
                self._fault(f"{row['url']} had settled and was asked for again")
                continue
            self.unrecorded += row["have"] - row["stored"]
            if offset(request) != row["stored"]:
                self._fault(
                    f"{row['url']} was asked for from byte {offset(request)}, the "
                    f"state had {row['stored']}"
                )

    def _not_twice(self, said: list[Row]) -> None:
        """Nothing is told twice by one run, nor what the state has as told."""
        told = Counter(map(_key, said))
        self.faults += [
            f"run {self.runs}: {count} times {key}"
            for key, count in told.items()
            if count > 1
        ]
        for event, row in self._told():
            key = (event, row["id"], row.get("url"))
            if key in told:
                self._fault(f"{key} was told again though it was acknowledged")

    def _not_lost(self) -> None:
        """What the state has as told has been told."""
        keys = set(map(_key, self.log))
        for event, row in self._told():
            key = (event, row["id"], row.get("url"))
            if key not in keys:
                self._fault(f"{key} is acknowledged and was never told")

    def _told(self) -> list[tuple[str, Row]]:
        records = [row for row in self.state.records if row["announced"]]
        groups = [row for row in self.state.registrations if row["delivered"]]
        return [
            *((event, row) for event in OF_RECORDS for row in records),
            *((event, row) for event in OF_GROUPS for row in groups),
        ]

    def _on_disk(self) -> None:
        """No byte that the state has is missing on disk."""
        for row in self.state.records:
            part = self.folder / "bgfetch/parts" / part_name(row["uid"], row["idx"])
            row["have"] = have = _size(part)
            if row["state"] == "settled" and not row["failure_reason"] and not have:
                have = _size(self.folder / "bgfetch/files" / row["path"])
            if have < row["stored"]:
                self._fault(f"{row['url']}: {have} of {row['stored']} bytes are left")

    def _phase(self, said: list[Row]) -> str:
        """Return what a kill interrupted, by what the run has left."""
        records = self.state.records
        if any(row["event"] == "closed" for row in said):
            return "the end"
        if any(
            row["result"] and not row["delivered"] for row in self.state.registrations
        ):
            return "a settling group"
        if any(row["state"] == "settled" and not row["announced"] for row in records):
            return "a settling record"
        return "transfers"

    # -- at the end --------------------------------------------------------------

    def at_the_end(self, rounds: list[Round]) -> None:
        """Compare every file, and find every event."""
        keys, paths = set(map(_key, self.log)), set()
        for round in rounds:
            for id in round.ids:
                failed = any(f.kind == "missing" for f in round.files if f.id == id)
                self._ended(id, "fail" if failed else "success")
            for file in round.files:
                paths.add(self._exact(file))
                for event in OF_RECORDS:
                    if (event, file.id, file.url) not in keys:
                        self._fault(f"{event} never came for {file.url}")
            self.no_callback += [
                url for url, _ in round.grouped if ("callback", None, url) not in keys
            ]
        self._nothing_else(paths)

    def _ended(self, id: str, wanted: str) -> None:
        ends = {row["said"] for row in self.log if _key(row) == ("end", id, None)}
        if ends != {wanted} or not self.is_delivered(id):
            self._fault(f"{id} ended with {ends}, not {wanted}")

    def _exact(self, file: Any) -> Path | None:
        rows = [
            r for r in self.state.records if (r["id"], r["url"]) == (file.id, file.url)
        ]
        if len(rows) != 1 or not rows[0]["path"]:
            self._fault(f"{file.url} has {len(rows)} records with a file")
            return None
        path = self.folder / "bgfetch/files" / str(rows[0]["path"])
        if not path.exists() or path.read_bytes() != file.content():
            self._fault(f"{path} is not what the server has")
        return path

    def _nothing_else(self, paths: set[Path | None]) -> None:
        bodies = self.folder / "bgfetch"
        for path in (*bodies.glob("parts/*"), *bodies.glob("files/*/*")):
            if path not in paths:
                self._fault(f"{path} is left over")
        for row in self.log:
            if row["event"] == "errback":
                self._fault(f"errback of {row['url']}: {row['error']}")

    def events(self) -> int:
        return sum(row["event"] in (*OF_RECORDS, *OF_GROUPS) for row in self.log)

    def duplicates(self) -> dict[str, int]:
        """Return how often each event came more than once."""
        told = Counter(map(_key, self.log))
        again: Counter[str] = Counter()
        for (event, _, _), count in told.items():
            if count > 1 and event != "closed":
                again[event] += count - 1
        return dict(again)


def _plain(row: Row) -> Row:
    """Return a line of the log; the three ends are one kind of event."""
    event = row["event"]
    return {**row, "event": "end", "said": event} if event in ENDS else row


def _key(row: Row) -> tuple[str, str | None, str | None]:
    return row["event"], row.get("id"), row.get("url")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3].partition("?")[0]


def _resumable(row: Row) -> bool:
    """Whether what is stored must be gone on from."""
    whole = any(one in row["url"] for one in ("&gzip", "&bare", "/status/"))
    return not whole and row["stored"] > 0
