"""Downloads from a server that holds a changing file and answers as it likes.

Whatever it does, a download ends, and what it calls done is a body that the server
really had (B4-B7, B10-B12).
"""

from __future__ import annotations

from email.utils import formatdate
from itertools import chain, cycle, repeat
from operator import eq
from typing import TYPE_CHECKING, Any

import pytest
from attrs import Factory, define, evolve, frozen
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from scrapy_bgfetch.model import Head, WithoutValidator
from scrapy_bgfetch.rules.asking import Stored, ask, stored_of
from scrapy_bgfetch.rules.backoff import Budgets
from scrapy_bgfetch.rules.resume import (
    Append,
    Decision,
    Done,
    Fail,
    Replace,
    Restart,
    RetryLater,
    after_body,
    content_encoded,
    decide,
    discards,
    tail_differs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST = 8
BUDGETS = Budgets(restarts=3, resumptions=2)
MOST_ATTEMPTS = 4 * 3 * (LONGEST + 2)  # what Budgets promises
TAIL = 2
VERIFY_TAIL, TRUST = WithoutValidator.VERIFY_TAIL, WithoutValidator.TRUST


def version(number: int, length: int) -> bytes:
    """Return a body that tells its version in one of any TAIL bytes: all of a tail
    must be compared to know them apart.
    """
    return bytes(
        at if at % TAIL else (number * LONGEST + at) % 256 for at in range(length)
    )


@frozen
class Move:
    """What the server does to its file, and then with one request."""

    tick: int = 0  # seconds that pass before
    length: int | None = None  # the file is changed, and is this long now
    status: int = 200  # 416 and 503 are answered whatever was asked
    blind: bool = False  # ignores If-Range
    deaf: bool = False  # ignores Range
    unasked: bool = False  # answers 206 even so
    shift: int = 0  # begins that much off
    most: int = LONGEST  # sends at most this much in a part
    unsized: bool = False  # chunked, complete length `*`
    terse: bool = False  # leaves Last-Modified out after If-Range
    encoded: bool = False
    surplus: bytes = b""  # what follows after a part
    cut: int | None = None  # the connection breaks after so many bytes
    hushed: bool = False  # a part without Content-Length breaks off like an end


@define
class Server:
    moves: Iterator[Move]
    strong: bool
    weak: bool
    dated: bool
    clock: int = 1_000_000_000
    modified: int = 1_000_000_000
    bodies: list[bytes] = Factory(lambda: [version(0, LONGEST)])

    def answer(self, fields: dict[str, str]) -> tuple[Head, bytes, bool]:
        """Return a head, the body that arrives, and whether its end is clean."""
        move = next(self.moves)
        self.clock += move.tick
        if move.length is not None:
            self.modified = self.clock
            self.bodies.append(version(len(self.bodies), move.length))
        status, lines, body = self.select(move, fields)
        lines += self.validators(move, fields)
        head = Head("http://example/f", status, tuple(lines))
        broken = move.cut is not None and move.cut <= len(body)
        hushed = move.hushed and status == 206 and head.get("Content-Length") is None
        return head, body[: move.cut], hushed or not broken

    def validators(
        self, move: Move, fields: dict[str, str]
    ) -> Iterator[tuple[str, str]]:
        yield "Date", formatdate(self.clock, usegmt=True)
        if self.strong:
            yield "ETag", f'"{len(self.bodies)}"'
        elif self.weak:
            yield "ETag", 'W/"always the same"'
        if self.dated and not (move.terse and not move.blind and "Range" in fields):
            yield "Last-Modified", formatdate(self.modified, usegmt=True)

    def matches(self, if_range: str | None) -> bool:
        validators = dict(self.validators(Move(), {}))
        return if_range in (
            None,
            validators.get("ETag"),
            validators.get("Last-Modified"),
        )

    def select(
        self, move: Move, fields: dict[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        body = self.bodies[-1]
        asked = fields.get("Range")
        heard = asked and (move.blind or self.matches(fields.get("If-Range")))
        unsatisfied = [("Content-Range", f"bytes */{len(body)}")]
        if move.status == 503:
            return 503, [], b"sorry"
        if move.status == 416:
            return 416, [], b""
        if move.unasked or (heard and not move.deaf):
            first = int(asked[6:-1]) + move.shift if asked and heard else move.shift
            if 0 <= first < len(body):
                vouched = "If-Range" in fields or not heard
                return 206, *self.part(move, body, first, vouched=vouched)
            return 416, unsatisfied, b""
        lines = [] if move.unsized else [("Content-Length", str(len(body)))]
        if move.encoded:
            lines = [("Content-Encoding", "gzip"), ("Content-Length", "3")]
        return 200, lines, body

    def part(
        self, move: Move, body: bytes, first: int, *, vouched: bool
    ) -> tuple[list[tuple[str, str]], bytes]:
        data = body[first : first + move.most]
        # A tail cannot tell a part that stops early from the end of the body.
        vague = move.unsized and (vouched or first + len(data) == len(body))
        total = "*" if vague else len(body)
        lines = [("Content-Range", f"bytes {first}-{first + len(data) - 1}/{total}")]
        if move.encoded:
            lines.append(("Content-Encoding", "gzip"))
        if not move.unsized and not move.surplus:
            lines.append(("Content-Length", str(len(data))))
        return lines, data + move.surplus


@define
class Download:
    """The shell around the rules, without a network and without a disk."""

    server: Server
    without: WithoutValidator = WithoutValidator.RESTART
    same: Callable[[bytes, bytes], bool] = eq
    left: Budgets | None = BUDGETS
    body: bytes = b""
    head: Head | None = None
    complete_length: int | None = None
    attempts: int = 0
    received: int = 0
    repeated: int = 0

    def run(self) -> Decision | None:
        """Return the last decision, None when a budget was used up."""
        while True:
            assert self.attempts <= MOST_ATTEMPTS, "it does not end"
            self.attempts += 1
            decision = self.attempt()
            if isinstance(decision, Done | Fail):
                return decision
            if self.left and isinstance(decision, RetryLater):
                self.left = self.left.spend_resumption()
            if self.left is None:
                return None

    def stored(self) -> Stored:
        encoded = self.head is not None and content_encoded(self.head)
        return stored_of(len(self.body), self.head, self.complete_length, encoded)

    def attempt(self) -> Decision:
        asked = ask(self.stored(), self.without, tail=TAIL)
        head, data, clean = self.server.answer(asked.fields)
        decision = decide(self.stored(), head, asked)
        self.obey(decision)
        if self.left is not None and isinstance(decision, Append | Replace):
            decision = self.take(head, decision, data, clean=clean)
            self.obey(decision)
        return decision

    def take(
        self, head: Head, decision: Append | Replace, data: bytes, *, clean: bool
    ) -> Decision:
        compared = 0
        if isinstance(decision, Append) and decision.verify:
            again, data = data[: decision.verify], data[decision.verify :]
            compared = len(again)
            self.repeated += compared
            if not self.same(self.body[-decision.verify :][:compared], again):
                return tail_differs(decision)
        self.write(head, decision, data)
        return after_body(
            len(self.body),
            decision,
            received=len(data),
            clean=clean,
            compared=compared,
        )

    def obey(self, decision: Decision) -> None:
        if self.left and discards(self.stored(), decision):
            self.left = self.left.spend_restart()
        if isinstance(decision, Restart):
            self.body, self.head, self.complete_length = b"", None, None

    def write(self, head: Head, decision: Append | Replace, data: bytes) -> None:
        if isinstance(decision, Append):
            at, self.complete_length = decision.at, decision.complete_length
        else:
            at, self.complete_length = 0, decision.length
        if at == 0:
            self.head = head
        self.body = self.body[:at] + data
        self.received += len(data)
        if data and self.left:
            self.left = self.left.progressed(BUDGETS)


# Most moves are plain: one fault at a time is what slips through a check.
SIZES = st.sampled_from([LONGEST, LONGEST, LONGEST, 3]) | st.integers(0, LONGEST)
FAULTS = st.one_of(
    st.fixed_dictionaries({"length": SIZES}),
    st.fixed_dictionaries({"length": SIZES, "blind": st.just(True)}),
    st.fixed_dictionaries({"status": st.sampled_from([416, 503])}),
    st.fixed_dictionaries({"shift": st.sampled_from([-1, 1])}),
    st.fixed_dictionaries({"most": st.integers(1, LONGEST)}),
    st.fixed_dictionaries({"surplus": st.just(b"!"), "most": st.integers(1, LONGEST)}),
    st.just({"length": 3, "blind": True}),  # shrinks to what may be stored
    st.just({"unsized": True, "cut": 3}),
    st.just({"unsized": True, "hushed": True}),
    st.sampled_from(["deaf", "unasked", "unsized", "terse", "encoded"]).map(
        lambda name: {name: True}
    ),
)


@st.composite
def moves(draw: st.DrawFn) -> Move:
    faults: dict[str, Any] = {"tick": draw(st.sampled_from([0, 0, 1, 2]))}
    faults["cut"] = draw(st.sampled_from([None, 3]) | st.integers(0, LONGEST))
    for fault in draw(st.lists(FAULTS, max_size=2)):
        faults |= fault
    return Move(**faults)


def is_wrong(download: Download, last: Decision | None) -> bool:
    """Return whether it is done with what the server never had."""
    return isinstance(last, Done) and (
        download.body not in download.server.bodies or last.length != len(download.body)
    )


def check_an_end(download: Download) -> None:
    assert not is_wrong(download, download.run())


PLAYS = st.lists(moves(), min_size=1, max_size=6)


@settings(max_examples=2000)
@given(
    PLAYS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([WithoutValidator.RESTART, VERIFY_TAIL]),
)
def test_a_download_always_ends_and_is_never_done_with_wrong_bytes(
    played: list[Move], strong: bool, weak: bool, dated: bool, without: WithoutValidator
) -> None:
    check_an_end(Download(Server(cycle(played), strong, weak, dated), without))


@settings(max_examples=2000)
@given(PLAYS, st.booleans())
def test_a_compared_tail_keeps_a_download_without_validators_from_wrong_bytes(
    played: list[Move], weak: bool
) -> None:
    check_an_end(Download(Server(cycle(played), False, weak, False), VERIFY_TAIL))


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(lambda _old, _new: True, id="nothing"),
        pytest.param(lambda old, new: old[:1] == new[:1], id="first byte"),
        pytest.param(lambda old, new: old[1:] == new[1:], id="last byte"),
    ],
)
def test_the_model_finds_the_wrong_file_of_who_compares_too_little(
    same: Callable[[bytes, bytes], bool],
) -> None:
    def goes_wrong(played: list[Move]) -> bool:
        server = Server(cycle(played), False, False, False)
        download = Download(server, VERIFY_TAIL, same)
        return is_wrong(download, download.run())

    once = settings(
        max_examples=5000, database=None, derandomize=True, phases=[Phase.generate]
    )
    assert goes_wrong(find(PLAYS, goes_wrong, settings=once))


@settings(max_examples=500)
@given(PLAYS, st.booleans(), st.booleans())
def test_a_download_that_trusts_always_ends(
    played: list[Move], weak: bool, dated: bool
) -> None:
    Download(Server(cycle(played), False, weak, dated), TRUST).run()


CUT = Move(tick=2, cut=3)


@pytest.mark.parametrize(
    ("played", "strong", "dated"),
    [
        pytest.param([CUT, Move(length=8, blind=True)], True, False, id="ETag"),
        pytest.param(
            [CUT, Move(tick=1, length=8, blind=True)], False, True, id="Last-Modified"
        ),
        pytest.param([Move(cut=3), Move(length=8)], False, True, id="same second"),
        pytest.param([CUT, Move(shift=1)], True, False, id="gap"),
        pytest.param([CUT, Move(surplus=b"!", most=2)], True, False, id="surplus"),
        pytest.param(
            [Move(unsized=True, cut=3), Move(status=416)], True, False, id="bare 416"
        ),
        pytest.param(
            [Move(unsized=True, cut=3), Move(length=3, blind=True)],
            True,
            False,
            id="416 of a file that has shrunk",
        ),
    ],
)
def test_a_known_trap_is_never_done_with_wrong_bytes(
    played: list[Move], strong: bool, dated: bool
) -> None:
    check_an_end(Download(Server(cycle([*played, Move()]), strong, False, dated)))


@pytest.mark.parametrize(
    "played",
    [
        pytest.param([CUT, Move(length=8)], id="changed"),
        pytest.param([CUT, Move(length=8, shift=-1)], id="more than the tail"),
        pytest.param([CUT, Move(length=8, shift=2)], id="less than the tail"),
        pytest.param([CUT, Move(length=2)], id="shrunk into the tail"),
        pytest.param([CUT, Move(length=1)], id="shrunk to before the tail"),
        pytest.param(
            [Move(unsized=True, cut=5), Move(length=5, unsized=True, cut=0)],
            id="broken before the tail",
        ),
        pytest.param(
            [
                Move(unsized=True, cut=5),
                Move(length=5, unsized=True, cut=0, hushed=True),
            ],
            id="ended before the tail",
        ),
        pytest.param(
            [Move(cut=7), Move(length=8, most=1), Move(unsized=True)],
            id="another total and a part within the tail",
        ),
    ],
)
def test_a_known_trap_without_validators_is_never_done_with_wrong_bytes(
    played: list[Move],
) -> None:
    server = Server(chain(played, repeat(Move())), False, False, False)
    check_an_end(Download(server, VERIFY_TAIL))


STEADY = st.builds(
    Move,
    most=st.integers(1, LONGEST),
    unsized=st.booleans(),
    terse=st.booleans(),
    cut=st.none() | st.integers(1, LONGEST),
)


@given(st.lists(STEADY, min_size=1), st.booleans())
def test_a_steady_file_is_fetched_without_a_byte_coming_twice(
    played: list[Move], strong: bool
) -> None:
    # A date alone has to be sent with every part, and to be in the past.
    first, *others = [evolve(move, terse=move.terse and strong) for move in played]
    server = Server(cycle([evolve(first, tick=1), *others]), strong, True, True)
    download = Download(server)
    last = download.run()
    assert last == Done(LONGEST)
    assert download.body == server.bodies[0]
    assert download.received == LONGEST


@given(st.lists(STEADY, min_size=1), st.booleans())
def test_a_trusted_steady_file_is_fetched_without_a_byte_coming_twice(
    played: list[Move], weak: bool
) -> None:
    server = Server(cycle([evolve(m, terse=False) for m in played]), False, weak, True)
    download = Download(server, TRUST)
    assert download.run() == Done(LONGEST)
    assert download.body == server.bodies[0]
    assert download.received == LONGEST


PAST_THE_TAIL = st.builds(
    Move,
    most=st.integers(TAIL + 1, LONGEST),
    unsized=st.booleans(),
    cut=st.none() | st.integers(TAIL + 1, LONGEST),
)


@given(st.lists(PAST_THE_TAIL, min_size=1), st.booleans())
def test_a_compared_steady_file_costs_one_tail_for_each_resumption(
    played: list[Move], weak: bool
) -> None:
    server = Server(cycle(played), False, weak, False)
    download = Download(server, VERIFY_TAIL)
    assert download.run() == Done(LONGEST)
    assert download.body == server.bodies[0]
    assert download.received == LONGEST
    assert download.repeated == TAIL * (download.attempts - 1)


def test_a_changed_body_that_no_validator_tells_of_starts_again() -> None:
    changed = Move(length=LONGEST)
    server = Server(cycle([CUT, changed, Move()]), False, False, False)
    download = Download(server, VERIFY_TAIL)
    assert download.run() == Done(LONGEST)
    assert download.body == server.bodies[1]
    assert download.left == Budgets(BUDGETS.restarts - 1, BUDGETS.resumptions)


def test_parts_that_end_within_the_tail_are_given_up_and_lose_nothing() -> None:
    short = Move(most=TAIL - 1)
    server = Server(chain([CUT], repeat(short)), False, False, False)
    download = Download(server, VERIFY_TAIL)
    assert download.run() is None  # B5
    assert download.body == version(0, 3)
    assert download.attempts == BUDGETS.resumptions + 1


def test_a_server_that_changes_at_every_answer_is_given_up() -> None:
    changes = Move(length=LONGEST, cut=3)
    download = Download(Server(cycle([changes]), True, False, True))
    assert download.run() is None
    assert download.attempts == BUDGETS.restarts + 2


def test_a_server_that_cuts_and_knows_no_ranges_is_given_up() -> None:
    download = Download(Server(cycle([Move(deaf=True, cut=7)]), True, False, True))
    assert download.run() is None
    assert download.attempts == BUDGETS.restarts + 2


def test_parts_without_a_byte_are_given_up() -> None:
    download = Download(Server(cycle([Move(cut=3), Move(cut=0)]), True, False, True))
    stuck = Download(Server(cycle([Move(cut=0)]), True, False, True))
    assert download.run() == Done(LONGEST)
    assert stuck.run() is None
    assert stuck.attempts == BUDGETS.resumptions + 1  # B5


def test_a_body_whose_length_nobody_tells_ends_with_a_416() -> None:
    parts = Move(unasked=True, unsized=True, most=3)
    download = Download(Server(cycle([parts]), True, False, False))
    assert download.run() == Done(LONGEST)  # B4
    assert download.attempts == 4
