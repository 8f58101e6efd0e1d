"""The benchmark command works from end to end; no time is asserted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEASURES = {"wall", "done", "cpu", "peak"}
OTHERS = [
    "curl", "aria2c", "bgfetch-each", "bgfetch-loop", "bgfetch-grouped", "plain-scrapy",
    "plain-saving", "scrapy-aiohttp", "scrapy-aiohttp-state",
]  # fmt: skip
if find_spec("scrapy.core.downloader.handlers._aiohttp") is not None:
    OTHERS.append("files-aiohttp")

_missing = [
    name
    for name in ("nginx", "curl", "aria2c")
    if not (shutil.which(name) or shutil.which(name, path="/usr/sbin"))
]
needs_programs = pytest.mark.skipif(
    bool(_missing), reason=f"not installed: {', '.join(_missing)}"
)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks", *map(str, arguments)]


def small_run(data: Path, *more: object) -> list[str]:
    return command(
        "--case", "small", "--scale", 0.002, "--runs", 1, "--data", data, *more
    )


def run(words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, check=False, cwd=ROOT, capture_output=True, text=True, **options
    )


def run_code(code: str, *arguments: object) -> str:
    process = run([sys.executable, "-c", code, *map(str, arguments)])
    assert process.stderr == ""
    return process.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    files = ["--json", folder / "results.json", "--text", folder / "results.txt"]
    process = run(small_run(folder / "data", *files))
    assert process.returncode == 0, process.stderr
    return folder, process.stdout


@needs_programs
def test_the_json_has_the_numbers_of_every_peer_in_every_case(finished):
    said = json.loads((finished[0] / "results.json").read_text())
    assert said["options"] == {"runs": 1, "scale": 0.002, "concurrency": 16}
    assert said["machine"]["memory_floor"] > 0
    peers = {
        name: {peer: len(runs) for peer, runs in case["runs"].items()}
        for name, case in said["cases"].items()
    }
    assert peers == {
        "empty": dict.fromkeys(["bgfetch", "files-pipeline", "plain-scrapy"], 1),
        "small": dict.fromkeys(["bgfetch", "files-pipeline", *OTHERS], 1),
    }
    for case in said["cases"].values():
        for peer, medians in case["medians"].items():
            assert medians.keys() == MEASURES
            assert all(medians[m] == case["runs"][peer][0][m] for m in MEASURES)
            assert all(medians[m] > 0 for m in MEASURES)


@needs_programs
def test_every_peer_of_one_large_file_does_its_work(tmp_path):
    words = command(
        "--case", "large", "--scale", 0.002, "--runs", 1, "--data", tmp_path
    )
    results = tmp_path / "results.json"
    process = run([*words, "--json", str(results)])
    assert process.returncode == 0, process.stderr
    said = json.loads(results.read_text())
    runs = said["cases"]["large"]["runs"]
    assert {
        "bgfetch-power", "curl-sync", "copy-sync", "bgfetch-checksum", "sha256sum",
        "bgfetch-progress", "bgfetch-quiet",
    } < runs.keys()  # fmt: skip
    bars = {bar["name"]: bar["spread"]["median"] for bar in said["bars"]}
    cpu = {peer: usages[0]["cpu"] for peer, usages in runs.items()}
    added = (cpu["bgfetch-checksum"] - cpu["bgfetch"]) / cpu["sha256sum"]
    assert bars["large, what a checksum adds / sha256sum, cpu"] == added


@needs_programs
def test_the_json_has_ratios_with_their_spread_and_the_bars(finished):
    said = json.loads((finished[0] / "results.json").read_text())
    small = said["cases"]["small"]
    assert (small["files"], small["file_size"]) == (10, 20 * 1024)
    least = {f"{peer} / aria2c" for peer in OTHERS if peer.startswith("scrapy-")}
    assert len(least) == 2
    assert small["ratios"].keys() == {"files-pipeline", *OTHERS, *least}
    spread = small["ratios"]["curl"]["wall"]
    bgfetch, curl = (small["medians"][peer]["wall"] for peer in ("bgfetch", "curl"))
    assert spread == dict.fromkeys(
        ("min", "median", "max"), pytest.approx(bgfetch / curl)
    ) | {"values": [pytest.approx(bgfetch / curl)]}
    assert [set(bar) for bar in said["bars"]] == 11 * [
        {"name", "limit", "unit", "spread", "verdict"}
    ]


@needs_programs
def test_large_files_come_over_tls_too(tmp_path):
    words = ["--case", "large-tls", "--peer", "curl", "--scale", 0.0001, "--runs", 1]
    process = run(command(*words, "--data", tmp_path))
    assert process.returncode == 0, process.stderr
    assert "large-tls: 1 x 209.7 KiB\n" in process.stdout
    assert "large-tls, bgfetch / curl, wall" in process.stdout
    sources = [path.name for path in (tmp_path / "sources").iterdir()]
    assert "large-1x214748" in sources


@needs_programs
def test_a_throttled_server_is_asked_with_one_connection_and_with_four(tmp_path):
    words = ["--case", "throttled", "--peer", "bgfetch-4", "--peer", "aria2c-4"]
    process = run(command(*words, "--scale", 0.02, "--runs", 1, "--data", tmp_path))
    assert process.returncode == 0, process.stderr
    assert "throttled: 1 x 2.56 MiB\n" in process.stdout
    assert "\n  bgfetch-4 / aria2c-4 " in process.stdout
    assert "throttled, bgfetch-4 / bgfetch, wall less that of" in process.stdout


@needs_programs
def test_growth_has_a_row_for_each_amount_and_deletes_its_files(tmp_path):
    words = [sys.executable, "-m", "benchmarks.growth", "--runs", "1"]
    words += ["--records", "2", "--sizes", "1", "--data", str(tmp_path / "data")]
    process = run([*words, "--json", str(tmp_path / "growth.json")])
    assert process.returncode == 0, process.stderr
    growth = json.loads((tmp_path / "growth.json").read_text())["growth"]
    units = {title: [row["units"] for row in rows] for title, rows in growth.items()}
    assert units == {
        "records of 20 KiB, in one background fetch": [2],
        "records of 20 KiB, a background fetch for each": [2],
        "MiB in one file": [1],
    }
    assert all(title in process.stdout for title in growth)
    sources = [path.name for path in (tmp_path / "data" / "sources").iterdir()]
    assert sources == ["empty-0x0"]


@needs_programs
def test_the_text_has_a_table_for_each_case_and_says_the_concurrency(finished):
    text = finished[1]
    assert "16 connections each" in text
    assert "empty: no file\n" in text
    assert "small: 10 x 20 KiB\n" in text
    assert "Bars (scale 0.002: they mean nothing)\n" in text
    assert (finished[0] / "results.txt").read_text() == text.rstrip("\n") + "\n"


@needs_programs
def test_only_the_sources_are_left_behind(finished):
    data = finished[0] / "data"
    assert [path.name for path in data.iterdir()] == ["sources"]
    sources = list((data / "sources" / "small-10x20480").glob("*.bin"))
    assert len(sources) == 10
    assert all(path.stat().st_blocks * 512 >= 20 * 1024 for path in sources)


@needs_programs
def test_what_a_small_file_costs_at_least_is_told_by_its_parts():
    process = run([sys.executable, "-m", "benchmarks.least", "--files", "20"])
    assert process.returncode == 0, process.stderr
    parts = [line.split("  ")[0] for line in process.stdout.splitlines()]
    assert parts == [
        "Scrapy's downloader, no network",
        "aiohttp and a file, no Scrapy",
        "the state of each, no download",
        "a background fetch of all",
    ]
    assert process.stdout.count(" ms\n") == 4
    assert process.stderr == ""


@pytest.fixture
def heeds_interrupts():
    """Let processes heed SIGINT, also when we run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@needs_programs
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_nginx_and_removes_what_was_written(
    tmp_path, number, heeds_interrupts
):
    process = subprocess.Popen(
        small_run(tmp_path, "--runs", 1000),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        while "nginx at http" not in process.stderr.readline():
            assert process.poll() is None
        server = int(next(tmp_path.glob("work-*/nginx.pid")).read_text())
        process.send_signal(number)
        _, errors = process.communicate(timeout=200)  # a busy disk is synced first
    assert process.returncode == 130, errors
    assert errors.endswith("benchmarks: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["sources"]
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_a_missing_program_is_named_with_what_installs_it(tmp_path):
    process = run(
        command("--data", tmp_path), env={**os.environ, "PATH": str(tmp_path)}
    )
    assert process.returncode == 1
    assert "is not installed" in process.stderr
    assert "sudo apt install nginx-light curl aria2" in process.stderr


def test_an_interpreter_with_much_memory_does_not_pass_its_peak_on():
    code = (
        "from benchmarks.measure import floor\n"
        "ballast = b'x' * 200 * 2**20\n"
        "print(floor())"
    )
    assert 0 < int(run_code(code)) < 30 * 2**20


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("path.unlink()", "1 files are missing, 0 are too many"),
        ("path.with_name('more.bin').touch()", "0 files are missing, 1 are too many"),
        ("path.write_bytes(path.read_bytes()[:-1])", "has 20479 of 20480 bytes"),
        ("path.write_bytes(bytes(20480))", "the content of small-00000.bin is wrong"),
        ("None", ""),
    ],
)
def test_files_that_are_not_the_right_ones_are_noticed(tmp_path, change, problem):
    code = f"""if True:
        import pathlib, shutil, sys
        from benchmarks.cases import Case, make_source, problem_of
        data, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1], "out")
        source = make_source(Case("small", 3, 20480), data)
        shutil.copytree(source.folder, out, ignore=shutil.ignore_patterns("*.json"))
        path = out / "small-00000.bin"
        {change}
        print(problem_of(source, {{p.name: p for p in out.iterdir()}}))
    """
    said = run_code(code, tmp_path).strip()
    assert said.endswith(problem)
    assert bool(said) == bool(problem)


def test_the_other_crawls_do_not_pay_for_importing_ours():
    code = (
        "import sys, benchmarks.spiders as s;"
        "from scrapy.utils.misc import load_object;"
        "ours = {'bgfetch_spiders', 'bare_state_spiders'};"
        "others = [p for p in s.SPIDERS.values() if p.split('.')[1] not in ours];"
        "print(len([load_object(path) for path in others]));"
        "print('scrapy_bgfetch' in sys.modules)"
    )
    assert run_code(code) == "5\nFalse\n"


def test_each_crawl_may_keep_what_it_compiles(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = (
        "from benchmarks.measure import environment;"
        "print('PYTHONDONTWRITEBYTECODE' in environment())"
    )
    assert run_code(code) == "False\n"
