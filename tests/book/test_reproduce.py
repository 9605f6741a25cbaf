"""The runner against real kernels: what it repeats, what it refuses, what survives."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from written import PARAMETERS, write_notebook

from rar_lib.book import notebook, reproduce
from rar_lib.book.profiles import Profile, load
from rar_lib.core.errors import ReproduceError
from rar_lib.core.pace import Measured

pytestmark = pytest.mark.fault

PROFILE = load("smoke")
LIBRARY = {
    "judge.py": "x = 1\n",
    "prompts/judge.txt": "Grade.\n",
    "cli/app.py": "x = 1\n",
    "book/pages/build.py": "x = 1\n",
    "book/report.py": "x = 1\n",
    "book/tables.py": "x = 1\n",
}


class Checkout:
    """A small project: notebooks, a lock, a library, and a count of what was started."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out = root / "_build"
        self.notebooks = root / "notebooks"
        self.library = root / "lib"
        self.started: list[str] = []
        for name, text in {**LIBRARY, "../env/laptop.txt": "torch==2.13.0+cpu\n"}.items():
            path = self.library / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.resolve().write_text(text)

    @contextlib.contextmanager
    def server(self, name: str) -> Iterator[None]:
        self.started.append(f"up {name}")
        try:
            yield
        finally:
            self.started.append(f"down {name}")

    def run(self, profile: Profile = PROFILE, **changes: Any) -> list[reproduce.Result]:
        return reproduce.reproduce(
            profile,
            notebooks=self.notebooks,
            out=self.out,
            library=self.library,
            servers=self.server,
            weights=lambda name: self.started.append(f"weights {name}"),
            **{"product": lambda: None, **changes},
        )

    def reasons(self, profile: Profile = PROFILE) -> dict[str, str | None]:
        """Why each notebook would be run now, without running any."""
        steps = reproduce._steps(self.notebooks, self.out, None)
        plan = reproduce._plan(steps, profile, self.root, self.library, False)
        return {step.stem: why for step, why in plan}

    def text(self, stem: str) -> str:
        """All that the cells of an executed copy printed or showed."""
        return json.dumps(
            [c.get("outputs") for c in notebook.read(self.out / f"{stem}.ipynb").cells]
        )

    def files(self) -> set[str]:
        return {p.name for p in self.out.iterdir() if p.name not in (".run.lock", ".work")}

    def data(self, folder: str = "data") -> dict[str, str]:
        """What chapters left, by name."""
        data = self.out / folder
        files = [p for p in sorted(data.rglob("*")) if p.is_file()]
        return {p.relative_to(data).as_posix(): p.read_text() for p in files}

    def replay(self, **changes: Any) -> list[reproduce.Result]:
        return reproduce.replay(
            PROFILE, notebooks=self.notebooks, out=self.out, library=self.library, **changes
        )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells run here and not in a kernel, which takes seconds: for what is left behind by them."""

    def execute(
        source: Path, target: Path, parameters: dict[str, Any], *, failed: Path, **_: Any
    ) -> dict[str, Any]:
        nb = notebook.read(source)
        names = dict(parameters)
        shown = io.StringIO()
        try:
            with contextlib.redirect_stdout(shown):
                for cell in nb.cells[1:]:
                    exec(cell.source, names)
        except Exception as error:
            failed.write_text(json.dumps(shown.getvalue()))
            raise ReproduceError(f"{type(error).__name__}: {error}") from error
        nb.cells[-1].outputs = [nbformat.v4.new_output("stream", text=shown.getvalue())]
        target.write_text(nbformat.writes(nb))
        failed.unlink(missing_ok=True)
        return {}

    monkeypatch.setattr(notebook, "execute", execute)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    # Kernels run elsewhere, and must import the library that is tested.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return Checkout(tmp_path)


READS = """
from pathlib import Path
from rar_lib.book import results
results.load("study", Path(".")), results.load("later", Path("."))
"""


def two_notebooks(checkout: Checkout) -> None:
    (checkout.root / "results").mkdir()
    (checkout.root / "results/study.json").write_text("{}")
    write_notebook(
        checkout.notebooks / "01_first.ipynb",
        PARAMETERS,
        "import os, sys, pathlib\n"
        "print(profile, sys.executable == os.environ['RUNNER'])\n"
        "print(os.getcwd() + '/data/x.json', pathlib.Path.home() / 'file', '/rooted/x')\n"
        "print(os.environ['RAR_HOME'] + '/blobs')",
        minutes={"smoke": 0.5},
    )
    write_notebook(
        checkout.notebooks / "02_second.ipynb", PARAMETERS, "1 + 1", READS, after=["01_first"]
    )


def test_only_what_is_missing_or_changed_is_run(
    checkout: Checkout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="rar_lib")
    monkeypatch.setenv("RUNNER", sys.executable)
    monkeypatch.setenv("RAR_HOME", str(tmp_path / "cache"))
    two_notebooks(checkout)

    # The first run: everything, with one server for both notebooks.
    results = checkout.run()
    assert [(r.stem, r.ran, r.reason) for r in results] == [
        ("01_first", True, "never run"),
        ("02_second", True, "never run"),
    ]
    assert checkout.started == ["weights smollm2-135m", "up smollm2-135m", "down smollm2-135m"]
    said = "2 of 2 notebooks to run: about 0 min (01_first 0.5, 02_second ?)"
    assert caplog.messages[0] == said
    assert checkout.files() == {
        "01_first.ipynb",
        "01_first.json",
        "02_second.ipynb",
        "02_second.json",
    }
    shown = checkout.text("01_first")
    assert "smoke True" in shown  # the profile was injected, the kernel is this Python
    assert "./data/x.json ~/file /rooted/x" in shown
    assert "$RAR_HOME/blobs" in shown
    for name in checkout.files():
        assert str(tmp_path) not in (checkout.out / name).read_text(), name
    assert not (checkout.out / ".work").exists()
    manifest = json.loads((checkout.out / "01_first.json").read_text())
    assert manifest["profile"] == "smoke"
    assert manifest["cells"] == 3
    assert manifest["seconds"] > 0
    assert manifest["start"] <= manifest["end"]
    assert re.match(r"\d+ cores? \w", manifest["hardware"])
    assert manifest["versions"]["papermill"] == "2.7.0"

    # The second run: nothing, quickly, without a server.
    checkout.started.clear()
    clock = time.monotonic()
    assert [r.reason for r in checkout.run()] == ["up to date", "up to date"]
    assert time.monotonic() - clock < 2
    assert checkout.started == []

    # Every part of the key, one at a time, with its name.
    both = "01_first", "02_second"

    def changed(file: Path, text: str | None) -> tuple[str | None, ...]:
        before = file.read_text() if file.exists() else None
        file.unlink() if text is None else file.write_text(text)
        try:
            return tuple(checkout.reasons()[stem] for stem in both)
        finally:
            file.unlink(missing_ok=True) if before is None else file.write_text(before)

    judge = "library changed (judge.py)"
    prompt = "library changed (prompts/judge.txt)"
    lock = "environment lock changed"
    tables = "library changed (book/tables.py)"
    again = "data of an earlier notebook changed (01_first)"
    for file, text, first, second in [
        ("lib/judge.py", "x = 2", judge, f"{judge}; {again}"),
        ("lib/prompts/judge.txt", "?", prompt, f"{prompt}; {again}"),
        ("lib/cli/app.py", "x = 2", None, None),  # a chapter sees neither the command line
        ("lib/book/pages/build.py", "x = 2", None, None),  # nor what makes pages of it
        ("lib/book/report.py", "x = 2", None, None),  # these two make no report
        ("lib/book/tables.py", "x = 2", tables, f"{tables}; {again}"),
        ("results/later.json", "{}", None, "records changed (later)"),
        ("env/laptop.txt", "torch==9\n", lock, f"{lock}; {again}"),
        ("results/study.json", "[]", None, "records changed (study)"),
        ("results/study.json", None, None, "records changed (study)"),
        ("results/other.json", "{}", None, None),
        ("_build/01_first.ipynb", None, "the executed copy is missing", again),
        ("_build/01_first.ipynb", "{}", "the executed copy was changed", again),
        ("_build/02_second.json", "{torn", None, "never run"),
    ]:
        found = changed(tmp_path / file, text)
        assert found == (first, second), file
    training = PROFILE.training.model_copy(update={"steps": 9})
    longer = PROFILE.model_copy(update={"training": training})
    assert checkout.reasons(longer)["02_second"] == f"parameters changed (training); {again}"
    with monkeypatch.context() as installed:
        installed.setattr(reproduce, "_installed", lambda names: {name: "9" for name in names})
        found = "installed packages changed (python, torch)"
        assert tuple(checkout.reasons().values()) == (found, f"{found}; {again}")
    assert set(checkout.reasons().values()) == {None}

    # A changed notebook, for real: it and no more.
    source = checkout.notebooks / "02_second.ipynb"
    write_notebook(source, PARAMETERS, "2 + 2", after=["01_first"])
    results = checkout.run()
    assert [(r.ran, r.reason) for r in results] == [
        (False, "up to date"),
        (True, "notebook changed"),
    ]
    assert '"4"' in checkout.text("02_second")
    [only] = checkout.run(only=["01"], force=True)
    assert (only.stem, only.reason) == ("01_first", "forced")
    assert set(checkout.reasons().values()) == {None}  # what it left is the same


def test_a_chapter_that_makes_a_report_depends_on_what_makes_it(checkout: Checkout) -> None:
    (checkout.library / "book" / "report.css").write_text("p {}")
    (checkout.library / "book" / "rollouts.js").write_text("1")

    def seen(code: str) -> set[str]:
        write_notebook(checkout.notebooks / "01_a.ipynb", PARAMETERS, code)
        step = reproduce.Step(checkout.notebooks / "01_a.ipynb", checkout.out, {})
        parts = reproduce.parts_of(step, PROFILE, checkout.root, checkout.library)
        reports = ("book/report", "book/rollouts")
        return {name for name in parts["library"] if name.startswith(reports)}

    both = {"book/report.py", "book/report.css", "book/rollouts.js"}
    assert seen("from rar_lib import (\n    Judge,\n    write_report,\n)") == both
    assert seen("from rar_lib.book.report import Page") == both
    assert seen("from rar_lib.book import report, tables") == both
    assert seen("from rar_lib import Judge, save_card") == both
    assert seen("from rar_lib.book.card import what_rose") == both
    assert seen("from rar_lib import Judge\nreported = 1") == set()


def test_chapters_of_the_book_that_make_a_report_are_run_again_for_it() -> None:
    root = Path(__file__).resolve().parents[2]
    found = set()
    for source in sorted((root / "notebooks").glob("*.ipynb")):
        step = reproduce.Step(source, root / "_build" / "none", {})
        parts = reproduce.parts_of(step, PROFILE, root, reproduce.PACKAGE)
        if "book/report.html" in parts["library"]:
            found.add(source.stem)
    assert "11_your_own_domain" in found
    assert len(found) <= 2


def test_what_builds_pages_and_commands_makes_no_chapter_stale() -> None:
    """Of the book's room a chapter sees what its cells call: tables, figures, prose, records."""
    root = Path(__file__).resolve().parents[2]
    step = reproduce.Step(root / "notebooks" / "01_rewards_from_rubrics.ipynb", root / "_build", {})
    seen = reproduce.parts_of(step, PROFILE, root, reproduce.PACKAGE)["library"]
    assert {name.removeprefix("book/") for name in seen if name.startswith("book/")} == {
        *("__init__.py", "claims.py", "claims.toml", "figures.py", "notebook.py", "profiles.py"),
        *("profiles.toml", "prose.py", "published.json", "reproduce.py", "results.py", "study.py"),
        "tables.py",
    }
    assert not any(name.startswith("cli/") for name in seen)


def test_a_chapter_that_leads_to_cells_of_others_is_run_again_when_these_move(
    checkout: Checkout,
) -> None:
    write_notebook(checkout.notebooks / "01_a.ipynb", PARAMETERS, "1")
    write_notebook(checkout.notebooks / "02_b.ipynb", PARAMETERS, "2")

    def key(rar: dict[str, Any]) -> str:
        step = reproduce.Step(checkout.notebooks / "02_b.ipynb", checkout.out, rar)
        parts = reproduce.parts_of(step, PROFILE, checkout.root, checkout.library)
        return str(parts["notebook"])

    plain = key({})
    linked = key({"links": True})
    write_notebook(checkout.notebooks / "01_a.ipynb", PARAMETERS, "0", "1")
    assert key({}) == plain
    assert key({"links": True}) != linked


SECRET = "sk-live-0123456789"
FAULTS = {
    "exception": (
        "import os\nraise ValueError('bad key ' + os.environ['JUDGE_API_KEY'])",
        r"cell 2 \(`import os`\): ValueError: bad key \*\*\*",
    ),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", r"cell 2 .*DeadKernel"),
    "quit": ("import os; os._exit(0)", r"cell 2 \(`import os; os._exit\(0\)`\): DeadKernel"),
    "too slow": ("import time; time.sleep(60)", r"cell 2 .*CellTimeoutError"),
    "secret": (
        "import os, time\nk = os.environ['JUDGE_API_KEY']\nprint(k[:9], end='', flush=True)\n"
        "time.sleep(0.5)\nprint(k[9:])",
        "shows the value of JUDGE_API_KEY",
    ),
    "huge": ("print('x' * 6_000_000)", r"has 6\.0 MB, the limit is 5 MB"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_notebook_that_fails_leaves_the_good_copy_and_a_readable_one(
    name: str, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", SECRET)
    cell, message = FAULTS[name]
    write_notebook(checkout.notebooks / "01_first.ipynb", PARAMETERS, cell, "print('end')")
    checkout.out.mkdir()
    (checkout.out / "01_first.ipynb").write_text("the last good copy")

    limit = 2 if name == "too slow" else 60  # what is not about time has time, on any machine
    with pytest.raises(ReproduceError, match=message) as caught:
        checkout.run(PROFILE.model_copy(update={"cell_timeout_s": limit}))

    assert "01_first.ipynb" in str(caught.value)
    assert "01_first.failed.ipynb" in str(caught.value)
    assert (checkout.out / "01_first.ipynb").read_text() == "the last good copy"
    assert checkout.files() == {"01_first.ipynb", "01_first.failed.ipynb"}
    failed = (checkout.out / "01_first.failed.ipynb").read_text()
    assert SECRET not in failed
    assert SECRET[9:] not in failed
    assert str(checkout.root) not in failed
    assert checkout.started[-1] == "down smollm2-135m"
    assert checkout.reasons() == {"01_first": "the last run failed"}


@pytest.mark.usefixtures("at_once")
def test_a_server_starts_only_for_a_chapter_that_may_ask_a_model(checkout: Checkout) -> None:
    write_notebook(checkout.notebooks / "01_reads.ipynb", PARAMETERS, "1 + 1", asks=False)
    checkout.run()
    assert checkout.started == []
    write_notebook(checkout.notebooks / "02_asks.ipynb", PARAMETERS, "1 + 1")
    checkout.run(force=True)
    assert checkout.started == ["weights smollm2-135m", "up smollm2-135m", "down smollm2-135m"]


def test_chapters_that_say_so_ask_no_model() -> None:
    quiet = []
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb")):
        nb = notebook.read(path)
        if nb.metadata["rar"].get("asks") is False:
            quiet.append(path.stem[:2])
            code = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")
            assert not re.search(r"\.chat\(|\.serving\(|\bChat\(|Judge\(|\btrain\(", code), (
                path.stem
            )
    assert quiet


def test_wrong_metadata_and_names_are_refused_before_any_kernel(checkout: Checkout) -> None:
    first = checkout.notebooks / "01_first.ipynb"
    with pytest.raises(ReproduceError, match="holds no notebook named like 01_name"):
        checkout.run()
    write_notebook(first, "model = 'x'")
    with pytest.raises(ReproduceError, match=r"parameter profile is not set .* \(it sets: model\)"):
        checkout.run()
    write_notebook(first, PARAMETERS, after=["02_second"])
    with pytest.raises(ReproduceError, match="names 02_second, which is not an earlier notebook"):
        checkout.run()
    write_notebook(first, PARAMETERS)
    lock = checkout.root / "env/laptop.txt"
    lock.rename(lock.with_suffix(".away"))
    with pytest.raises(ReproduceError, match=r"env/laptop\.txt does not exist"):
        checkout.run()
    lock.with_suffix(".away").rename(lock)
    with pytest.raises(ReproduceError, match="no notebook '07'; choose from: 01_first"):
        checkout.run(only=["07"])
    write_notebook(checkout.notebooks / "02_second.ipynb", PARAMETERS, after=["01_first"])
    with pytest.raises(ReproduceError, match="builds on 01_first, which has no finished run"):
        checkout.run(only=["02"])
    first.write_text("{")
    with pytest.raises(ReproduceError, match="not a readable notebook"):
        checkout.run()


RUNNER = """
import contextlib, sys
from pathlib import Path
from rar_lib.book.profiles import load
from rar_lib.book.reproduce import reproduce
root = Path(sys.argv[1])
profile = load("smoke")
reproduce(profile, notebooks=root / "notebooks", out=root / "_build", library=root / "lib",
          servers=contextlib.nullcontext, weights=str, product=lambda: None)
"""


def wait_for(what: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_is_continued_by_the_next(checkout: Checkout, number: signal.Signals) -> None:
    write_notebook(checkout.notebooks / "01_first.ipynb", PARAMETERS, "1")
    write_notebook(
        checkout.notebooks / "02_second.ipynb",
        PARAMETERS,
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))",
        "while pathlib.Path('block').exists(): time.sleep(0.05)",
    )
    if number != signal.SIGKILL:  # one kernel less
        (checkout.notebooks / "01_first.ipynb").unlink()
    (checkout.root / "block").touch()
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(checkout.root)])
    pid = checkout.root / "pid"
    try:
        wait_for(lambda: pid.exists() and pid.read_text())
        with pytest.raises(ReproduceError, match=rf"another run \(pid {runner.pid}\) is working"):
            checkout.run()
        runner.send_signal(number)
        assert runner.wait(20) != 0
    finally:
        runner.kill()
    wait_for(lambda: not alive(int(pid.read_text())))
    if number != signal.SIGKILL:
        assert checkout.files() == set()
        return
    # SIGKILL leaves its temporary copy; the next run clears it and does only the rest.
    (checkout.root / "block").unlink()
    results = checkout.run()
    assert [(r.stem, r.reason) for r in results] == [
        ("01_first", "up to date"),
        ("02_second", "never run"),
    ]
    assert checkout.files() == {
        "01_first.ipynb",
        "01_first.json",
        "02_second.ipynb",
        "02_second.json",
    }


SAVE = """
from rar_lib.book.study import Study
study = Study.open(profile)
study.save("words", {value!r})
(study.folder / "run").mkdir(exist_ok=True)
(study.folder / "run" / "log.txt").write_text({value!r})
"""
LOAD = """
from rar_lib.book.study import Study
study = Study.open(profile)
print(study.load("words"), (study.folder / "run" / "log.txt").read_text())
study.save("read", study.load("words"))
"""


def writer_and_reader(checkout: Checkout, value: str, *more: str) -> None:
    """01 leaves two files and 02 reads them; ``more`` are further cells of 01."""
    first, second = (checkout.notebooks / f"{n}.ipynb" for n in ("01_writes", "02_reads"))
    write_notebook(first, PARAMETERS, SAVE.format(value=value), *more)
    write_notebook(second, PARAMETERS, LOAD, after=["01_writes"])


def left(value: str) -> dict[str, str]:
    said = json.dumps(value)
    return {"read.json": said, "run/log.txt": value, "words.json": said}


WRITES = "01_writes"
READS_IT = "02_reads"
UP_TO_DATE = {WRITES: None, READS_IT: None}


@pytest.mark.usefixtures("at_once")
def test_a_chapter_that_fails_leaves_the_data_of_its_last_good_run(checkout: Checkout) -> None:
    writer_and_reader(checkout, "good")
    checkout.run()
    assert checkout.data() == left("good")
    copies = {n: (checkout.out / f"{n}.json").read_bytes() for n in UP_TO_DATE}

    writer_and_reader(checkout, "half", "raise ValueError('later')")
    with pytest.raises(ReproduceError, match="ValueError: later"):
        checkout.run()
    assert checkout.data() == left("good")
    assert copies == {n: (checkout.out / f"{n}.json").read_bytes() for n in UP_TO_DATE}
    assert checkout.reasons()[WRITES] == "notebook changed"  # not up to date on half-done data

    # The change is taken back: all is as it was.
    writer_and_reader(checkout, "good")
    assert checkout.reasons() == UP_TO_DATE

    # Mended: new data, and what reads it.
    writer_and_reader(checkout, "better")
    assert [r.ran for r in checkout.run()] == [True, True]
    assert checkout.data() == left("better")
    assert "better better" in checkout.text(READS_IT)
    assert not (checkout.out / ".work").exists()


@pytest.mark.usefixtures("at_once")
def test_what_a_chapter_is_after_is_run_again_for_other_data_only(checkout: Checkout) -> None:
    writer_and_reader(checkout, "same")
    checkout.run()
    later = [(r.stem, r.reason) for r in checkout.run(only=["01"], force=True)]
    assert later == [(WRITES, "forced")]
    writer_and_reader(checkout, "same", "print('another output')")
    assert [(r.stem, r.reason) for r in checkout.run()] == [
        (WRITES, "notebook changed"),
        (READS_IT, "up to date"),
    ]
    writer_and_reader(checkout, "other")
    assert [(r.stem, r.reason) for r in checkout.run()] == [
        (WRITES, "notebook changed"),
        (READS_IT, "data of an earlier notebook changed (01_writes)"),
    ]


@pytest.mark.parametrize("name", ["words.json", "run/log.txt"])
@pytest.mark.usefixtures("at_once")
def test_data_edited_by_hand_makes_its_chapter_and_its_readers_stale(
    checkout: Checkout, name: str
) -> None:
    writer_and_reader(checkout, "good")
    checkout.run()
    (checkout.out / "data" / name).write_text('"by hand"')
    reader = "data of an earlier notebook changed (01_writes)"
    assert checkout.reasons() == {WRITES: f"its data was changed ({name})", READS_IT: reader}
    assert [(r.stem, r.reason) for r in checkout.run(only=["02"])] == [(READS_IT, reader)]
    # Made again, by both: nothing of what was written by hand is left.
    assert [r.ran for r in checkout.run()] == [True, True]
    assert checkout.data() == left("good")
    (checkout.out / "data" / name).unlink()
    assert checkout.reasons()[WRITES] == f"its data was changed ({name})"


@pytest.mark.usefixtures("at_once")
def test_results_that_a_chapter_leaves_no_more_are_gone(checkout: Checkout) -> None:
    writer_and_reader(checkout, "good")
    checkout.run()
    write_notebook(checkout.notebooks / "01_writes.ipynb", PARAMETERS)
    write_notebook(checkout.notebooks / "02_reads.ipynb", PARAMETERS)
    checkout.run()
    assert checkout.data() == {"run/log.txt": "good"}  # a folder may be gone on with


@pytest.mark.usefixtures("at_once")
def test_two_chapters_do_not_leave_the_same_name(checkout: Checkout) -> None:
    writer_and_reader(checkout, "good")
    again = SAVE.format(value="mine")
    write_notebook(checkout.notebooks / "02_reads.ipynb", PARAMETERS, again)
    with pytest.raises(ReproduceError, match=r"02_reads.ipynb leaves run/log.txt, words.json, "):
        checkout.run()
    assert checkout.data() == {"run/log.txt": "good", "words.json": '"good"'}


@pytest.mark.usefixtures("at_once")
def test_a_chapter_with_a_new_name_takes_the_place_of_its_old_run(checkout: Checkout) -> None:
    source = checkout.notebooks / "01_writes.ipynb"
    write_notebook(source, PARAMETERS, SAVE.format(value="good"))
    checkout.run()
    source.unlink()
    write_notebook(checkout.notebooks / "02_writes.ipynb", PARAMETERS, SAVE.format(value="new"))
    checkout.run()
    assert checkout.data() == {"run/log.txt": "new", "words.json": '"new"'}


@pytest.mark.usefixtures("at_once")
def test_a_chapter_sees_only_the_data_of_those_it_is_after(checkout: Checkout) -> None:
    writer_and_reader(checkout, "good")
    write_notebook(checkout.notebooks / "02_reads.ipynb", PARAMETERS, LOAD)
    with pytest.raises(ReproduceError, match=r"words.json is missing.*rar.after of this notebook"):
        checkout.run()


BLOCK = """
import os, pathlib, time
pathlib.Path('pid').write_text(str(os.getpid()))
while pathlib.Path('block').exists(): time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_chapter_that_is_stopped_leaves_the_last_good_data(
    checkout: Checkout, number: signal.Signals
) -> None:
    writer_and_reader(checkout, "good")
    checkout.run()
    writer_and_reader(checkout, "half", BLOCK)
    (checkout.root / "block").touch()
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(checkout.root)])
    pid = checkout.root / "pid"
    try:
        wait_for(lambda: pid.exists() and pid.read_text())
        runner.send_signal(number)
        assert runner.wait(20) != 0
    finally:
        runner.kill()
    wait_for(lambda: not alive(int(pid.read_text())))
    (checkout.root / "block").unlink()
    assert checkout.data() == left("good")
    assert checkout.reasons()[WRITES] == "notebook changed"
    writer_and_reader(checkout, "good")
    assert [r.reason for r in checkout.run()] == ["up to date", "up to date"]
    assert checkout.data() == left("good")


@pytest.mark.usefixtures("at_once")
def test_folders_of_a_failed_attempt_are_found_by_the_next_and_its_files_are_not(
    checkout: Checkout,
) -> None:
    """A checkpoint costs hours and says itself whose it is; a result is made anew."""
    cell = """
from rar_lib.book.study import Study
study = Study.open(profile)
run = study.folder / "run"
print("found", sorted(p.name for p in run.rglob("*")), (study.folder / "half.json").exists())
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "checkpoints" / "step-1").touch()
(run / "run.json").touch()
"""
    source = checkout.notebooks / "01_trains.ipynb"
    write_notebook(source, PARAMETERS, cell, "study.save('half', 1)", "raise ValueError")
    with pytest.raises(ReproduceError):
        checkout.run()
    write_notebook(source, PARAMETERS, cell)
    checkout.run()
    assert "found ['checkpoints', 'run.json', 'step-1'] False" in checkout.text("01_trains")
    assert checkout.data() == {"run/run.json": ""}  # what has not finished is no result
    checkout.run(force=True)
    assert "found ['checkpoints', 'run.json', 'step-1'] False" in checkout.text("01_trains")
    write_notebook(source, PARAMETERS, cell, "raise ValueError")
    (checkout.out / "data/run/run.json").write_text("by hand")
    with pytest.raises(ReproduceError):
        checkout.run()
    failed = (checkout.out / "01_trains.failed.ipynb").read_text()
    assert "found ['checkpoints', 'step-1'] False" in failed  # not trusted as a whole


def _stopped_after(checkout: Checkout, moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the first chapter, killed when so many of its files are in their places."""
    moved = 0

    def move(source: Path, target: Path) -> None:
        nonlocal moved
        if moved == moves:
            raise KeyboardInterrupt
        moved += 1
        real(source, target)

    real = reproduce._move
    with monkeypatch.context() as patch:
        patch.setattr(reproduce, "_move", move)
        with pytest.raises(KeyboardInterrupt):
            checkout.run(only=["01"])


@pytest.mark.parametrize("moves", range(4))  # two of data, the copy, the manifest
@pytest.mark.usefixtures("at_once")
def test_a_run_killed_while_it_moves_its_files_is_finished_by_the_next(
    checkout: Checkout, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer_and_reader(checkout, "good")
    checkout.run(only=["01"])
    writer_and_reader(checkout, "new")
    _stopped_after(checkout, moves, monkeypatch)
    assert [r.reason for r in checkout.run(only=["01"])] == ["up to date"]
    assert checkout.data() == {"run/log.txt": "new", "words.json": '"new"'}
    assert not (checkout.out / ".work").exists()


@pytest.mark.parametrize("moves", range(4))
@pytest.mark.usefixtures("at_once")
def test_a_replay_after_such_a_run_reads_data_and_manifest_of_one_run(
    checkout: Checkout, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer_and_reader(checkout, "good")
    checkout.run()
    writer_and_reader(checkout, "new")
    _stopped_after(checkout, moves, monkeypatch)
    assert [r.stem for r in checkout.replay(only=["02"])] == [READS_IT]
    assert "new new" in (checkout.out / "replay/02_reads.ipynb").read_text()
    assert checkout.data()["words.json"] == '"new"'


@pytest.mark.usefixtures("at_once")
def test_what_is_not_as_the_run_left_it_is_named(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer_and_reader(checkout, "good")
    executed = checkout.out / f"{WRITES}.ipynb"
    assert reproduce.altered(executed) is None  # nothing is known of it
    checkout.run()
    assert reproduce.altered(executed) is None
    writer_and_reader(checkout, "new")
    _stopped_after(checkout, 1, monkeypatch)
    assert str(reproduce.altered(executed)).startswith("its data was changed (")
    checkout.run()
    executed.write_text(executed.read_text() + " ")
    assert reproduce.altered(executed) == "the executed copy was changed"
    executed.unlink()
    assert reproduce.altered(executed) == "the executed copy is missing"


@pytest.mark.usefixtures("at_once")
def test_a_replay_writes_elsewhere_in_the_order_of_chapters_under_the_lock(
    checkout: Checkout,
) -> None:
    writer_and_reader(checkout, "good", "import os; print(os.environ.get('RAR_CASSETTE'))")
    with pytest.raises(ReproduceError, match="builds on 01_writes, which has no finished run"):
        checkout.replay(only=["02"])
    checkout.run()

    def real() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in checkout.out.rglob("*") if p.is_file()}

    before = real()
    assert [r.stem for r in checkout.replay()] == [WRITES, READS_IT]
    assert checkout.data("replay/data") == left("good")
    assert {k: v for k, v in real().items() if "/replay/" not in k} == before
    assert checkout.reasons() == UP_TO_DATE
    assert "replay" in (checkout.out / "replay/01_writes.ipynb").read_text()

    # A chapter reads what was replayed before it, else what the real run of that chapter left.
    writer_and_reader(checkout, "changed")
    checkout.replay()
    assert "changed changed" in (checkout.out / "replay/02_reads.ipynb").read_text()
    checkout.replay(only=["02"])
    assert "good good" in (checkout.out / "replay/02_reads.ipynb").read_text()
    assert "RAR_CASSETTE" not in os.environ
    with (
        reproduce._alone(checkout.out),
        pytest.raises(ReproduceError, match=r"another run .* is working"),
    ):
        checkout.replay()


@pytest.mark.usefixtures("at_once")
def test_a_chapter_that_trains_is_left_out_of_a_replay(checkout: Checkout) -> None:
    writer_and_reader(checkout, "good")
    write_notebook(
        checkout.notebooks / "01_writes.ipynb", PARAMETERS, SAVE.format(value="good"), replay=False
    )
    checkout.run()
    assert [r.stem for r in checkout.replay()] == [READS_IT]
    assert checkout.data("replay/data") == {"read.json": '"good"'}


def test_every_part_of_the_key_can_be_named_as_the_reason(checkout: Checkout) -> None:
    writer_and_reader(checkout, "good")
    (step, _) = reproduce._steps(checkout.notebooks, checkout.out, None)
    parts = reproduce.parts_of(step, PROFILE, checkout.root, checkout.library)
    assert list(parts) == list(reproduce._CHANGED)


def test_a_model_that_another_program_serves_makes_its_chapter_stale(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer_and_reader(checkout, "good")
    (step, _) = reproduce._steps(checkout.notebooks, checkout.out, None)
    found = []
    for name in ("vllm", "llama.cpp"):
        monkeypatch.setattr(reproduce, "engine", lambda model, device, name=name: name)
        found.append(reproduce.parts_of(step, PROFILE, checkout.root, checkout.library))
    one, other = found
    assert {part for part in one if one[part] != other[part]} == {"engines"}


def test_a_chapter_is_stale_where_its_models_compute_in_another_number_format(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a chapter would read a calibration of a judge that this processor does not have."""
    writer_and_reader(checkout, "good")
    (step, _) = reproduce._steps(checkout.notebooks, checkout.out, None)
    found = []
    for dtype in ("bfloat16", "float32"):
        monkeypatch.setattr("rar_lib.models.processor.cpu_dtype", lambda dtype=dtype: dtype)
        found.append(reproduce.parts_of(step, PROFILE, checkout.root, checkout.library))
    one, other = found
    assert {part for part in one if one[part] != other[part]} == {"engines"}


TIMES = {
    "reproduce": {
        "fast": {"gflops": 2000.0, "chapters": {"smoke": {"01_writes": 400.0}}},
        "slow": {"gflops": 200.0, "chapters": {"smoke": {"01_writes": 1000.0}}},
    }
}


@pytest.mark.usefixtures("at_once")
def test_the_forecast_is_this_machines_and_the_next_one_its_own(
    checkout: Checkout, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rar_lib")
    writer_and_reader(checkout, "good")
    (checkout.root / "results").mkdir()
    (checkout.root / "results/times.json").write_text(json.dumps(TIMES))
    checkout.run(product=lambda: 400.0)
    # 400 + 600 x 4/9 s of 01; nothing is known of 02.
    assert (
        "about 11 min (01_writes 11.1, 02_reads ?); a product of this machine: 400 GFLOP/s"
        in (caplog.messages[0])
    )
    taken = json.loads((checkout.out / "01_writes.json").read_text())["taken"]
    assert taken["live"]["gflops"] == 400.0  # it left a folder, so it had something to do
    caplog.clear()
    checkout.run(product=lambda: 400.0, force=True)
    assert "about 0 min (01_writes 0.0, 02_reads" in caplog.messages[0]


@pytest.mark.usefixtures("at_once")
def test_a_manifest_says_how_many_replies_its_run_added_to_the_record(checkout: Checkout) -> None:
    record = checkout.out / "calls.sqlite"
    ask = (
        "import contextlib\nfrom rar_lib.judging.cassette import Cassette\n"
        f"with contextlib.closing(Cassette({str(record)!r})) as kept:\n"
        "    for n in range(3):\n"
        "        kept.record({'n': n}, {'text': 'yes'})\n"
    )
    write_notebook(checkout.notebooks / "01_asks.ipynb", PARAMETERS, ask)
    manifest = checkout.out / "01_asks.json"
    for added in (3, 0):
        checkout.run(force=True)
        assert json.loads(manifest.read_text())["calls_added"] == added


def test_what_a_run_took_is_told_apart_by_what_it_asked() -> None:
    live = Measured(600.0, 150.0)
    short = Measured(20.0)
    first = reproduce._taken(None, live, asked=True, short=False)
    assert first == {"live": {"seconds": 600.0, "gflops": 150.0}}
    last = {"seconds": 600.0, "taken": first}
    both = first | {"short": {"seconds": 20.0}}
    assert reproduce._taken(last, short, asked=False, short=True) == both
    assert reproduce._taken(last, short, asked=True, short=True) == first  # it asked a little
    assert reproduce._taken({"seconds": 9.0}, short, asked=True, short=True) == {
        "live": {"seconds": 9.0, "gflops": None}
    }
