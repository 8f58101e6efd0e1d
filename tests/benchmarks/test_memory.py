"""What 64 transfers hold in memory, measured by the benchmark's command (issue 5)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@pytest.mark.long
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("disk", [[], ["--slow-disk"]])
def test_64_large_transfers_hold_less_than_64_mib(disk):
    """Buffers are full when a transfer begins, and while its writes wait."""
    command = [sys.executable, "-m", "benchmarks.memory", "--size", "4", "--runs", "1"]
    process = subprocess.run(
        [*command, *disk], check=True, cwd=ROOT, capture_output=True, text=True
    )
    above = re.findall(r"(\w+): 64 transfers, (-?[\d.]+) MiB", process.stdout)
    assert [scheme for scheme, _ in above] == ["http", "https"]
    assert all(float(mib) < 64 for _, mib in above), process.stdout
