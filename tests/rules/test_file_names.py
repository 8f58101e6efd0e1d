from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.rules.file_names import (
    collision_key,
    file_name,
    folder_name,
    part_name,
    safe_name,
    safe_relative_path,
    unique_name,
)

URL = "https://example.com/files/ep-5.mp3?token=x"
UID = "0123456789abcdef"
HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            './\\:*?"<>| ~$%aZ9é\u0301日\u202e\u200b\ufeff\x00\n\t\ud800conux'
        ),
    ),
    max_size=80,
)
DEVICES = ["con", "PRN", "Aux", "nul", "COM1", "lpt9", "com¹", "CONIN$", "clock$"]


def head(
    disposition: str | None = None, url: str = URL, type: str | None = None
) -> Head:
    fields = {"Content-Disposition": disposition, "Content-Type": type}
    return Head(url, 200, tuple((k, v) for k, v in fields.items() if v is not None))


def assert_safe(name: str, max_bytes: int) -> None:
    assert name
    assert len(name.encode()) <= max_bytes
    assert name == unicodedata.normalize("NFC", name)
    assert name[0] not in ". "
    assert name[-1] not in ". "
    assert not set(name) & set('/\\<>:"|?*')
    assert not {unicodedata.category(c) for c in name} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert PurePosixPath(name).name == name
    assert PureWindowsPath(name).name == name
    assert name.partition(".")[0].rstrip().lower() not in {d.lower() for d in DEVICES}


@given(HOSTILE, st.integers(1, 255))
@example("con", 3)
@example("con.", 3)
@example("con…", 3)
@example("a.jpeg", 5)
@example("日.jpeg", 6)
@example("日", 1)
@example("<\u0338", 200)
@example("e\u200b\u0301", 200)
@example("a. .txt", 6)
def test_a_safe_name_is_safe_and_stays_as_it_is(name: str, max_bytes: int) -> None:
    safe = safe_name(name, max_bytes=max_bytes)
    assert_safe(safe, max_bytes)
    assert safe_name(safe, max_bytes=max_bytes) == safe


@pytest.mark.parametrize(
    "name",
    [
        "ep-5.mp3",
        "日本語.txt",
        "naïve (1) [x] {y} 'z' & co, +=~@#!.tar.gz",
        "-rf",
        "a..b",
    ],
)
def test_a_name_that_is_safe_is_kept(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        (" . . ", "file"),
        ("\u200b\u202e", "file"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..\\evil.exe", "_evil.exe"),
        (".bashrc", "bashrc"),
        ("a.txt. . ", "a.txt"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("a\x00b\x1b[2Jc.txt", "ab[2Jc.txt"),
        ("gpj.\u202eexe.scr", "gpj.exe.scr"),
        ("pay\u200bpal\ufeff.pdf", "paypal.pdf"),
        ("a\u3164\U000e0041\ufe0f.txt", "a.txt"),
        ("a \t\r\n\u2028\xa0 b", "a b"),
        ("e\u0301.txt", "é.txt"),
        ("a\ud800.txt", "a.txt"),
    ],
)
def test_what_is_unsafe_is_taken_out(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rest", ["", ".txt", " .txt", ".tar.gz", "."])
def test_a_device_name_of_windows_is_disarmed(device: str, rest: str) -> None:
    assert safe_name(device + rest) == "_" + (device + rest).rstrip(".")


@pytest.mark.parametrize("name", ["console", "com10", "auxiliary.txt", "con-1", "com"])
def test_a_name_that_only_looks_like_a_device_is_kept(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("extension", [".mp3", ".tar.gz", ".7z"])
@pytest.mark.parametrize("letter", ["a", "é", "日", "😀"])
def test_a_cut_keeps_the_extension_and_whole_characters(
    letter: str, extension: str
) -> None:
    name = safe_name(letter * 300 + extension)
    assert name.endswith(letter + extension)
    assert 200 - len(letter.encode()) < len(name.encode()) <= 200


@given(HOSTILE)
def test_a_folder_name_is_one_safe_segment_that_ends_with_the_uid(id: str) -> None:
    name = folder_name(id, UID)
    assert_safe(name, 255)
    assert name.endswith(".01234567")


def test_a_folder_name_is_the_id_and_the_start_of_the_uid() -> None:
    assert folder_name("my-fetch", UID) == "my-fetch.01234567"
    assert folder_name("a/b", UID) == "a_b.01234567"
    assert len(folder_name("日" * 400_000, UID)) < 90


def test_a_part_name_is_ours_alone() -> None:
    assert part_name(UID, 7) == "0123456789abcdef-7.part"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=a.txt", "a.txt"),
        ("attachment; filename=a b.txt", "a b.txt"),
        ("inline; filename=a.txt", "a.txt"),
        ("ATTACHMENT;FILENAME = a.txt ; x=y", "a.txt"),
        ('attachment; filename="a;b\\"c.txt"', "a;b_c.txt"),
        ('attachment; x="; filename=no.txt"; filename=a.txt', "a.txt"),
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
        ("attachment; filename*=utf-8'en'a%20(1).txt", "a (1).txt"),
        ("attachment; filename*=iso-8859-1''%A3.txt", "£.txt"),
        ("attachment; filename=b.txt; filename*=UTF-8''a.txt", "a.txt"),
        ("attachment; filename*=UTF-8''a.txt; filename=b.txt", "a.txt"),
        ("attachment; filename=a.txt; filename=b.txt", "a.txt"),
        ('attachment; filename="\xe2\x82\xac.txt"', "€.txt"),
        ('attachment; filename="\xa3.txt"', "£.txt"),
        ('attachment; filename="/etc/passwd.txt"', "passwd.txt"),
        ('attachment; filename="..\\\\..\\\\a.txt"', "a.txt"),
        ("attachment; filename*=UTF-8''..%2F..%2Fa.txt", "a.txt"),
        ("attachment; filename*=UTF-8''%2e%2e%5Ca.txt", "a.txt"),
    ],
)
def test_content_disposition_names_the_file(disposition: str, name: str) -> None:
    """RFC 6266 section 4.3, RFC 8187 section 3.2."""
    assert file_name(URL, head(disposition)) == name


@pytest.mark.parametrize(
    "broken",
    [
        "filename*=UTF-8''%FF.txt",
        "filename*=UTF-8''%zz.txt",
        "filename*=UTF-8''a%",
        "filename*=UTF-8''",
        "filename*=utf-7''+AGE-.txt",
        "filename*=nosuch''a.txt",
        "filename*=''a.txt",
        "filename*=a.txt",
        "filename*=\"UTF-8''a.txt\"",
        "filename*=UTF-8''\xe2\x82\xac.txt",
        "filename*=UTF-8''..",
        "filename*=UTF-8''a%2F",
    ],
)
def test_a_broken_ext_value_gives_way_to_the_plain_one(broken: str) -> None:
    assert file_name(URL, head(f"attachment; {broken}; filename=b.txt")) == "b.txt"


@pytest.mark.parametrize(
    "disposition",
    [
        "",
        "attachment",
        "attachment;",
        "filename=a.txt",
        "attachment; filename=",
        'attachment; filename=""',
        'attachment; filename="a.txt',
        'attachment; filename="',
        'attachment; filename="a/"',
        'attachment; filename=".."',
        "attachment; filename*0=a; filename*1=b.txt",
        "attachment; name=a.txt",
    ],
)
def test_without_a_usable_disposition_the_url_names_the_file(disposition: str) -> None:
    assert file_name(URL, head(disposition)) == "ep-5.mp3"


def test_the_first_of_two_dispositions_counts() -> None:
    lines = [("content-disposition", f"attachment; filename={n}.txt") for n in "ab"]
    assert file_name(URL, Head(URL, 200, tuple(lines))) == "a.txt"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.mp3?x=/c.txt#/d.txt", "b.mp3"),
        ("https://h/a/%E2%82%AC%20b.mp3", "€ b.mp3"),
        ("https://h/%E4%FF.mp3", "äÿ.mp3"),
        ("https://h/a%2Fb.mp3", "a_b.mp3"),
        ("https://h/..%2F..%2Fb.mp3", "_.._b.mp3"),
        ("https://h/a%00%0Ab.mp3", "a b.mp3"),
        ("https://h/%2e%2e/b.mp3/", "b.mp3"),
        ("https://h/b.mp3/%2E%2E", "b.mp3"),
        ("https://h/é.mp3", "é.mp3"),
    ],
)
def test_the_last_segment_of_the_answering_url_names_the_file(
    url: str, name: str
) -> None:
    assert file_name("https://first/other.bin", head(url=url)) == name


@pytest.mark.parametrize(
    "answered", ["https://cdn/", "https://cdn", "", "https://[x/a"]
)
def test_a_url_that_says_nothing_gives_way_to_the_one_asked_for(answered: str) -> None:
    assert file_name(URL, head(url=answered)) == "ep-5.mp3"


def test_with_nothing_to_go_by_it_is_a_file() -> None:
    assert file_name("https://h/", head(url="https://h/")) == "file"


@pytest.mark.parametrize(
    ("path", "type", "name"),
    [
        ("download", "audio/mpeg", "download.mp3"),
        ("download", "Text/HTML ; charset=utf-8", "download.html"),
        ("download", "text/plain", "download.txt"),
        ("download", "application/xml", "download.xml"),
        ("download", "image/webp", "download.webp"),
        ("download", "application/gzip", "download.gz"),
        ("download", "application/octet-stream", "download"),
        ("download", "no/such", "download"),
        ("download", "", "download"),
        ("download", "text/html, text/html", "download.html"),
        ("2101.00001", "application/pdf", "2101.00001.pdf"),
        ("a.mp3", "text/html", "a.mp3"),
        ("a.7z", "text/html", "a.7z"),
        ("", "application/pdf", "file.pdf"),
        ("b" * 300, "application/pdf", "b" * 196 + ".pdf"),
    ],
)
def test_a_name_without_an_extension_gets_that_of_its_type(
    path: str, type: str, name: str
) -> None:
    url = f"https://h/{path}"
    assert file_name(url, head(url=url, type=type)) == name


@given(HOSTILE, HOSTILE, HOSTILE)
def test_a_file_name_is_safe_whatever_the_server_says(
    disposition: str, path: str, type: str
) -> None:
    url = f"https://h/{path}"
    for form in ("{}", "a; filename={}", 'a; filename="{}"', "a; filename*=UTF-8''{}"):
        assert_safe(file_name(url, head(form.format(disposition), url, type)), 200)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b/c.txt", "a/b/c.txt"),
        ("/etc/passwd", "etc/passwd"),
        ("../../a/../b.txt", "a/b.txt"),
        ("a//./ /b.txt", "a/b.txt"),
        ("C:\\a\\b.txt", "C__a_b.txt"),
        (".git/config", "git/config"),
        ("con/nul.txt", "_con/_nul.txt"),
        ("", "file"),
        ("/", "file"),
        ("../..", "file"),
        ("1/2/3/4/5/6/7/8/9/a.txt", "2/3/4/5/6/7/8/9/a.txt"),
    ],
)
def test_a_relative_path_stays_inside(name: str, path: str) -> None:
    assert safe_relative_path(name) == path


@given(st.lists(HOSTILE, max_size=12).map("/".join))
def test_a_relative_path_is_safe_in_every_segment(name: str) -> None:
    path = safe_relative_path(name)
    for segment in path.split("/"):
        assert_safe(segment, 200)
    assert len(path.split("/")) <= 9
    assert safe_relative_path(path) == path


def test_a_free_name_is_kept() -> None:
    assert unique_name("a.txt", set[str]().__contains__) == "a.txt"


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("a.txt", "a-2.txt"),
        ("a.tar.gz", "a-2.tar.gz"),
        ("a", "a-2"),
        ("x.y/a.txt", "x.y/a-2.txt"),
        ("x.y/a", "x.y/a-2"),
    ],
)
def test_a_taken_name_gets_a_number_before_its_extension(
    name: str, second: str
) -> None:
    assert unique_name(name, {name}.__contains__) == second


def test_equal_names_get_numbers_without_gaps() -> None:
    taken: set[str] = set()
    for _ in range(100):
        taken.add(unique_name("a.txt", taken.__contains__))
    assert taken == {"a.txt"} | {f"a-{n}.txt" for n in range(2, 101)}


@given(st.sets(st.integers(2, 40)))
def test_a_unique_name_is_never_a_taken_one(numbers: set[int]) -> None:
    taken = {"a.txt"} | {f"a-{n}.txt" for n in numbers}
    assert unique_name("a.txt", taken.__contains__) not in taken


def test_the_hundred_thousandth_name_is_found_with_few_questions() -> None:
    asked: list[str] = []
    used = {"a"} | {f"a-{n}" for n in range(2, 100_000)}

    def taken(name: str) -> bool:
        asked.append(name)
        return name in used

    assert unique_name("a", taken) == "a-100000"
    assert len(asked) < 50


@pytest.mark.parametrize(
    ("one", "other"), [("A.TXT", "a.txt"), ("É", "e\u0301"), ("Straße", "STRASSE")]
)
def test_names_that_a_file_system_may_confuse_share_a_key(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


def test_names_that_differ_have_different_keys() -> None:
    assert collision_key("a") != collision_key("á")


@given(st.text())
def test_a_collision_key_is_its_own_key(name: str) -> None:
    assert collision_key(collision_key(name)) == collision_key(name)
