"""Whatever files are called, none is lost and none lies outside of its folder."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from scrapy_bgfetch import hookimpl
from tests.support.site import body


class Names:
    """Names the files of ``/file/0``, ``/file/1``... as it is told."""

    def __init__(self, *names):
        self.names = names

    @hookimpl
    def bgfetch_file_name(self, record):
        return self.names[int(record.url.rpartition("/")[2])]


def files(folder):
    """Return the files of the only background fetch, by their path in its folder."""
    (own,) = (folder / "bgfetch" / "files").iterdir()
    found = [path for path in own.rglob("*") if path.is_file()]
    return {str(path.relative_to(own)): path.read_bytes() for path in found}


def everything(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "bgfetch/" not in str(path.relative_to(folder))
    }


HOSTILE = [
    ["docs", "docs/page.html"],
    ["docs/page.html", "docs"],
    ["docs", "docs/page.html", "docs/page.html/deep", "docs"],
    ["a/b", "A", "a/B", "a/b/c"],
    ["same.txt"] * 5,
    ["same.txt", "SAME.TXT", "same-2.txt", "same.txt"],
    ["../../etc/passwd", "..", "../..", ".", ""],
    ["/etc/passwd", "//etc/passwd", "/", "C:\\Windows\\x", "\\\\host\\share"],
    ["a/../../b", "./a", "a//b", "a/./b"],
    ["x" * 5000, "y/" * 500 + "z", "\x00\n\r", "con", "nul.txt", "a:b*c?"],
    ["\udcff\ud800", "\u202egpj.exe", "caf\u00e9", "cafe\u0301"],
]


@pytest.mark.parametrize("names", HOSTILE)
@pytest.mark.parametrize("at_once", [1, 8])
async def test_no_file_is_lost_whatever_a_plug_in_calls_them(
    fetched, site, tmp_path, names, at_once
):
    urls = [site.url(f"/file/{n}") for n in range(len(names))]
    handle = await fetched(
        urls, BGFETCH_PLUGINS=[Names(*names)], BGFETCH_CONCURRENT_RECORDS=at_once
    )
    assert handle.result == "success"
    bodies = [body(str(n), 1000) for n in range(len(names))]
    assert [record.path.read_bytes() for record in handle.records] == bodies
    assert sorted(files(tmp_path).values()) == sorted(bodies)
    assert everything(tmp_path) == set()
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


@pytest.mark.parametrize("answer", [5, b"name", ["a"], object()])
async def test_a_name_that_is_no_text_is_ignored(fetched, site, tmp_path, answer):
    handle = await fetched(site.url("/file/0"), BGFETCH_PLUGINS=[Names(answer)])
    assert handle.result == "success"
    assert set(files(tmp_path)) == {"0"}


DISPOSITIONS = [
    ('attachment; filename="../../../etc/passwd"', "passwd"),
    ("attachment; filename=/etc/cron.d/evil", "evil"),
    ('attachment; filename="C:\\\\Windows\\\\system32\\\\x.dll"', "x.dll"),
    ("attachment; filename*=UTF-8''..%2F..%2Fx.txt", "x.txt"),
    ("attachment; filename*=UTF-8''%00%0a%0d.txt", "txt"),
    ('attachment; filename=".."', "x"),
    ('attachment; filename="con.txt"', "_con.txt"),
    ('attachment; filename=".htaccess"', "htaccess"),
]


@pytest.mark.parametrize(("disposition", "name"), DISPOSITIONS)
async def test_a_hostile_content_disposition_stays_in_the_folder(
    fetched, site, tmp_path, disposition, name
):
    url = site.url(f"/named/x?disposition={quote(disposition)}")
    handle = await fetched(url)
    assert handle.result == "success"
    assert list(files(tmp_path).values()) == [body("x", 1000)]
    (there,) = files(tmp_path)
    assert there.startswith(name)
    assert "/" not in there
    assert everything(tmp_path) == set()


async def test_a_name_that_is_too_long_is_cut(fetched, site, tmp_path):
    url = site.url("/named/x?disposition=" + quote(f'a; filename="{"n" * 4000}.txt"'))
    await fetched(url)
    (there,) = files(tmp_path)
    assert len(there) <= 200
    assert there.endswith(".txt")


class Spoiler:
    """Puts a file where the folders should be, while the first record settles."""

    def __init__(self, folder):
        self.files = folder / "bgfetch" / "files"

    @hookimpl
    def bgfetch_response_started(self, record):
        if record.index == 0:
            self.files.rmdir()
            self.files.write_text("in the way")

    @hookimpl
    def bgfetch_record_settled(self, record):
        if record.index == 0:
            self.files.unlink()
            self.files.mkdir()


async def test_a_folder_that_cannot_be_made_fails_that_record_alone(
    fetched, site, tmp_path
):
    urls = [site.url(f"/file/{n}") for n in range(2)]
    options = {"BGFETCH_PLUGINS": [Spoiler(tmp_path)], "BGFETCH_CONCURRENT_RECORDS": 1}
    handle = await fetched(urls, **options)
    bad, good = handle.records
    assert (bad.failure_reason, good.failure_reason) == ("fetch-error", "")
    assert "cannot be written" in bad.error
    assert (bad.path, bad.downloaded, handle.downloaded) == (None, 0, 1000)
    assert list(files(tmp_path).values()) == [body("1", 1000)]
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


async def test_a_page_of_an_error_whose_folder_cannot_be_made_is_not_kept(
    fetched, site, tmp_path, caplog
):
    class Late(Spoiler):
        @hookimpl
        def bgfetch_refresh_request(self, record):
            Spoiler.bgfetch_response_started(self, record)

    urls = [site.url("/status/404"), site.url("/file/1")]
    options = {"BGFETCH_PLUGINS": [Late(tmp_path)], "BGFETCH_CONCURRENT_RECORDS": 1}
    handle = await fetched(urls, **options)
    bad, good = handle.records
    assert (bad.failure_reason, good.failure_reason) == ("bad-status", "")
    assert (bad.path, bad.size, bad.status) == (None, 0, 404)
    assert "The error page of" in caplog.text
    assert (
        b"".join([chunk async for chunk in (await bad.response()).iter_body()]) == b""
    )
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []
