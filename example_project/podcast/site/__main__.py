"""Serve the site: ``python -m podcast.site [--port N] [--rate MB/s] [--data FOLDER]``.

The port is kept in the data folder and taken again at the next start, because the
addresses of unfinished downloads have it in them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from pathlib import Path

from podcast.site.episodes import build_site
from podcast.site.server import PortTaken, start_site

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the command; returns its exit code."""
    options = _options()
    folder = options.data / "site"
    kept = options.data / "port"
    if not folder.is_dir():
        print("Making the demo site (about 200 MB) ...", file=sys.stderr, flush=True)
    build_site(folder)
    port = options.port or (int(kept.read_text()) if kept.is_file() else 0)
    if options.stop_with_stdin:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    try:
        asyncio.run(_serve(folder, kept, port, options.rate * 1_000_000))
    except PortTaken:
        print(_taken(port, kept), file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m podcast.site")
    parser.add_argument("--port", type=int, default=0, help="0: the one kept, or any")
    parser.add_argument("--rate", type=float, default=3.0, help="MB/s a connection")
    parser.add_argument("--data", type=Path, default=PROJECT / "demo-data")
    parser.add_argument("--stop-with-stdin", action="store_true")
    return parser.parse_args()


async def _serve(folder: Path, kept: Path, port: int, rate: float) -> None:
    runner, base = await start_site(folder, port=port, rate=rate)
    await asyncio.to_thread(kept.write_text, base.rpartition(":")[2])
    print(f"{base}/feed.xml", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _exit_with_stdin() -> None:
    # The pipe's other end is in the crawl: it closes however the crawl ends.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)


def _taken(port: int, kept: Path) -> str:
    return (
        f"Port {port} of the demo site is taken by another program. The unfinished "
        f"downloads are stored with it, so no other port will do. Stop that program "
        f"(another crawl? `python -m podcast.site`?) and try again, or start over: "
        f"rm -r {os.path.relpath(kept.parent)}"
    )


if __name__ == "__main__":
    sys.exit(main())
