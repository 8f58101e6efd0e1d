"""What the tests of records over several connections share."""

from __future__ import annotations

from aiohttp import web

from tests.support.crawl_process import until
from tests.support.site import body

KiB = 1024
LEAST = 64 * KiB
SIZE = 1024 * KiB
HOLD = 200 * KiB  # less than a quarter
FOUR = {"connections_per_record": 4}


def whole(spider, name="f", size=SIZE):
    """Check that the file is what it should be."""
    (record,) = spider.handle.records
    assert (spider.handle.result, record.error) == ("success", "")
    assert record.path.read_bytes() == body(name, size)
    assert spider.handle.downloaded == record.downloaded == record.size == size
    return True


def attempts(spider):
    (record,) = spider.manifest["records"]
    return record["attempts"]


def overlap(parts):
    """Return how many bytes were sent twice, if each answer was read to its end."""
    seen, twice = set(), 0
    for part in parts:
        blocks = set(range(part.first, part.first + part.sent, KiB))
        twice += len(blocks & seen)
        seen |= blocks
    return twice * KiB


async def held(server, handle, count=4):
    """Wait until so many answers have brought what is let through, and wait."""
    await until(lambda: handle.records[0].downloaded == count * server.hold)
    assert len(server.active) == count


def part(first=None, total=SIZE, etag='"f"'):
    """Answer with a part that is not what was asked for."""

    def answer(wanted):
        start, last = wanted
        start = start if first is None else first
        data = body("f", SIZE)[start : last + 1]
        fields = {"Content-Range": f"bytes {start}-{last}/{total}", "ETag": etag}
        return web.Response(status=206, body=data, headers=fields)

    return answer


REFUSALS = {
    "ignores ranges": lambda wanted: web.Response(
        body=body("f", SIZE), headers={"ETag": '"f"'}
    ),
    "changed": lambda wanted: web.Response(
        body=body("g", SIZE), headers={"ETag": '"g"'}
    ),
    "403": lambda wanted: web.Response(status=403, text="no"),
    "404": lambda wanted: web.Response(status=404),
    "416": lambda wanted: web.Response(
        status=416, headers={"Content-Range": f"bytes */{SIZE}"}
    ),
    "429": lambda wanted: web.Response(status=429, headers={"Retry-After": "100"}),
    "503": lambda wanted: web.Response(status=503),
    "redirect": lambda wanted: web.Response(status=302),
    "no content": lambda wanted: web.Response(status=204),
    "another offset": part(first=7),
    "another total": part(total=SIZE + 1),
    "another etag": part(etag='"g"'),
    "a weak etag": part(etag='W/"f"'),
}
