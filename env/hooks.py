"""Two commit checks: no large file, no private key. `python env/hooks.py large|secrets FILE...`"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LIMIT = 1_000_000
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bsk-[A-Za-z0-9_-]{32,}|\bhf_[A-Za-z0-9]{30,}"
    rb"|\bghp_[A-Za-z0-9]{36}|\bAKIA[0-9A-Z]{16}\b"
)


def faults(check: str, names: list[str]) -> list[str]:
    """One line for every file that fails the check."""
    found = []
    for path in map(Path, names):
        if check == "large" and path.stat().st_size > LIMIT:
            found.append(f"{path}: {path.stat().st_size / 1e6:.1f} MB, the limit is 1 MB")
        if check == "secrets" and (hit := SECRETS.search(path.read_bytes())):
            line = path.read_bytes()[: hit.start()].count(b"\n") + 1
            found.append(f"{path}:{line}: looks like a private key or token; remove and revoke it")
    return found


if __name__ == "__main__":
    lines = faults(sys.argv[1], sys.argv[2:])
    print("\n".join(lines))
    sys.exit(bool(lines))
