"""What a person sees of a chapter that runs, on a terminal and in a log, and of `rar claims`."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rar_lib.book import claims
from rar_lib.book.notebook import Place
from rar_lib.cli.app import app
from rar_lib.cli.run import Shown, in_log
from rar_lib.core.pace import Course

ROOT = Path(__file__).parents[2]


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(forecast: dict[str, float | None], stem: str = "04_judge") -> tuple[Shown, Clock]:
    clock = Clock()
    return Shown(f"[4/10] {stem}", stem, Course(forecast), clock), clock


@pytest.mark.parametrize(
    ("forecast", "elapsed", "words"),
    [
        ({"04_judge": 600.0, "06_training": 900.0}, 0, "0 s, about 10 min left, 25 min in all"),
        ({"04_judge": 600.0, "06_training": 900.0}, 190, "3 min, about 7 min left, 22 min in all"),
        ({"04_judge": 600.0}, 555, "9 min, about 45 s left"),  # no chapter follows
        ({"04_judge": 600.0}, 700, "12 min, longer than forecast"),
        # (720 + 120) / (600 + 120) of fifteen minutes
        (
            {"04_judge": 600.0, "06_training": 900.0},
            720,
            "12 min, longer than forecast, 18 min in all",
        ),
        ({"04_judge": None, "06_training": 900.0}, 30, "30 s, time unknown, 15 min in all"),
        ({"04_judge": None}, 30, "30 s, time unknown"),
    ],
)
def test_a_line_says_what_runs_and_what_is_left(
    forecast: dict[str, float | None], elapsed: float, words: str
) -> None:
    chapter, clock = shown(forecast)
    clock.now += elapsed
    assert chapter.line() == f"[4/10] 04_judge: starting; {words}"
    chapter.at(Place(9, 43, "The gate"))
    assert chapter.line() == f"[4/10] 04_judge: cell 9 of 43 (The gate); {words}"
    chapter.at(Place(1, 43, ""))
    assert chapter.line() == f"[4/10] 04_judge: cell 1 of 43; {words}"


def test_a_log_has_a_line_an_interval_and_none_of_a_short_chapter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="rar_lib")
    chapter, _ = shown({"04_judge": 600.0})
    with in_log(chapter, 0.2):
        for cell in range(1, 44):  # a line for none of them
            chapter.at(Place(cell, 43, "The gate"))
        deadline = time.monotonic() + 30
        while len(caplog.messages) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(caplog.messages) >= 2
    assert set(caplog.messages) == {chapter.line()}
    caplog.clear()
    with in_log(chapter, 60):
        chapter.at(Place(1, 43, "The gate"))
    with pytest.raises(KeyboardInterrupt), in_log(chapter, 0.01):  # it ends with the chapter
        raise KeyboardInterrupt
    lines = len(caplog.messages)
    time.sleep(0.1)
    assert len(caplog.messages) == lines <= 1


RUN = """
import logging, time
from rar_lib.book.notebook import Place
from rar_lib.cli.app import main
from rar_lib.cli.run import view
from rar_lib.core.pace import Course
main()
log = logging.getLogger("rar_lib")
log.info("before")
with view("[4/10] 04_can_the_judge_be_trusted", "04", Course({"04": 600.0, "06": 900.0})) as tell:
    tell(Place(9, 43, "The [bold]gate[/bold] of every judge, " + "at length " * 9))
    time.sleep(1.3)
    log.info("said meanwhile")
    log.warning("heed this")
    tell(Place(22, 43, "What follows"))
    time.sleep(1.3)
log.info("after")
"""


def on_pty(columns: int = 80) -> str:
    """What a terminal got, screen control included."""
    here, there = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", RUN], stdout=there, stderr=there, env=env)
    os.close(there)
    got = b""
    try:
        while chunk := os.read(here, 65536):
            got += chunk
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(here)
    assert process.wait(30) == 0, got.decode()
    return got.decode()


def screen(got: str) -> list[str]:
    """The lines that stay, by a terminal that knows what rich sends."""
    lines = [""]
    row = 0
    column = 0
    for piece in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", got):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row -= int(piece[2:-1] or 1)
        elif piece.startswith("\x1b"):
            assert piece[-1] in "mhl", piece  # colours, and the cursor hidden or shown
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + piece + line[column + len(piece) :]
            column += len(piece)
    return [line.rstrip() for line in lines if line.strip()]


def test_a_terminal_shows_a_bar_that_is_updated_in_place_and_goes() -> None:
    got = on_pty()
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", got)
    assert "cell 9 of 43" in plain
    assert "cell 22 of 43" in plain
    assert "0:01, about 10 min left, 25 min in all  The [bold]gate[/bold]" in plain
    assert all(len(line) <= 80 for line in re.split(r"[\r\n]+", plain))
    # Each redrawing goes up over the last one: at its end nothing is left of it.
    assert screen(got) == ["before", "said meanwhile", "heed this", "after"]


def test_without_a_terminal_there_is_no_bar() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", RUN], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "before\nsaid meanwhile\nafter\n"
    assert done.stderr == "heed this\n"


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
    assert f"{written['counts']['supported']} supported" in done.output
    assert not re.search(
        r"\b0 \w", done.output.splitlines()[-2]
    )  # what there is none of is left out


def test_it_writes_what_the_chapter_shows(tmp_path: Path) -> None:
    """One function stands behind both."""
    out = tmp_path / "claims.json"
    CliRunner().invoke(app, ["claims", "--out", str(out)])
    rows = [row.to_json() for row in claims.ledger()]
    assert json.loads(out.read_text())["claims"] == json.loads(json.dumps(rows))
