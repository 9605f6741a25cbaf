"""`rar claims`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from rar_lib.book import claims
from rar_lib.cli.app import app


def test_claims_are_printed_counted_and_written(tmp_path: Path) -> None:
    out = tmp_path / "claims.json"
    done = CliRunner().invoke(app, ["claims", "--profile", "smoke", "--out", str(out)])
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    assert written["profile"] == "smoke"
    for row in written["claims"]:
        assert f"{row['id']}: " in done.output
    assert "arithmetic.headline-healthbench: does not hold" in done.output
    number = written["counts"]["does not hold"]
    assert f"{number} does not hold" in done.output
    assert "0 supported" not in done.output or written["counts"]["supported"] > 0


def test_it_writes_what_the_chapter_shows(tmp_path: Path) -> None:
    """One function stands behind both."""
    out = tmp_path / "claims.json"
    CliRunner().invoke(app, ["claims", "--profile", "smoke", "--out", str(out)])
    rows = [row.to_json() for row in claims.ledger("smoke")]
    assert json.loads(out.read_text())["claims"] == json.loads(json.dumps(rows))


def test_an_unknown_profile_is_named_without_a_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["claims", "--profile", "desktop", "--out", str(tmp_path / "x")])
    assert done.exit_code == 1
    assert "desktop" in done.output
    assert "Traceback" not in done.output
