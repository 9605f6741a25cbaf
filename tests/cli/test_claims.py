"""`rar claims`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from rar_lib.book import claims
from rar_lib.cli.app import app


def test_claims_are_printed_counted_and_written(tmp_path: Path) -> None:
    out = tmp_path / "claims.json"
    done = CliRunner().invoke(app, ["claims", "--out", str(out)])
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    for row in written["claims"]:
        assert f"{row['id']}: " in done.output
    assert "arithmetic.headline-healthbench: does not hold" in done.output
    number = written["counts"]["does not hold"]
    assert f"{number} does not hold" in done.output
    assert "0 supported" not in done.output or written["counts"]["supported"] > 0


def test_it_writes_what_the_chapter_shows(tmp_path: Path) -> None:
    """One function stands behind both."""
    out = tmp_path / "claims.json"
    CliRunner().invoke(app, ["claims", "--out", str(out)])
    rows = [row.to_json() for row in claims.ledger()]
    assert json.loads(out.read_text())["claims"] == json.loads(json.dumps(rows))
