"""One notebook, executed whole or not at all: what is a fault, what is hidden, what is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from written import PARAMETERS, write_notebook

from rar_lib.book import notebook
from rar_lib.models.server import GRACE_S


def test_a_cell_without_an_execution_count_is_a_fault() -> None:
    """papermill marks cells behind a dead kernel as completed."""
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_code_cell("x = 1", execution_count=1)]
    assert notebook._fault(nb, None) is None
    nb.cells += [nbformat.v4.new_code_cell("  "), nbformat.v4.new_code_cell("y = 2\nz = 3")]
    nb.cells[-1].metadata["papermill"] = {"status": "completed", "start_time": "now"}
    assert notebook._fault(nb, None) == "cell 3 (`y = 2`): it was never run"


TRACEBACK = """Traceback (most recent call last):
  File "<cell>", line 1, in <module>
    x = ask()
ValueError: first
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "<cell>", line 1, in <module>
    x = ask()
rar_lib.core.errors.CassetteError: calls.sqlite has schema version 1:
  move it away
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (TRACEBACK, "rar_lib.core.errors.CassetteError: calls.sqlite has schema version 1:"),
        ("step 1 of 2\n" + TRACEBACK + "\n", "rar_lib.core.errors.CassetteError: calls.sqlite"),
        ("a warning\n", "RuntimeError: -----"),
        ("", "RuntimeError: -----"),
    ],
)
def test_an_error_that_stands_only_in_the_error_stream_is_named(written: str, said: str) -> None:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = ask()")])
    nb.cells[0].metadata["papermill"] = {"start_time": "now", "exception": True}
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", name="stderr", text=written)]
    fault = notebook._fault(nb, RuntimeError("\n-----\nException encountered"))
    assert fault is not None
    assert fault.startswith(f"cell 1 (`x = ask()`): {said}")


def test_paths_are_replaced_by_whole_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("RAR_HOME", "/data/rar")
    scrub = notebook.scrubber(Path("/home/ada/work"))
    for text, clean in [
        ("/home/ada/work/rar_lib/judge.py:3", "./rar_lib/judge.py:3"),
        ("open('/home/ada/work')", "open('.')"),
        ("/home/ada/.cache/x", "~/.cache/x"),
        ("/home/adam/x", "/home/adam/x"),
        ("/mnt/home/ada/x", "/mnt/home/ada/x"),
        ("file:///home/ada/x", "file://~/x"),
        ("/data/rar/blobs", "$RAR_HOME/blobs"),
        ("/tmp/ipykernel_12/34.py:1: Warning", "<cell>:1: Warning"),
    ]:
        assert scrub(text) == clean
    monkeypatch.setenv("HOME", "/")
    assert notebook.scrubber(tmp_path)("/usr/lib") == "/usr/lib"


def test_only_long_values_with_telling_names_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    telling = [
        "OPENAI_API_KEY",
        "OPENAI_APIKEY",
        "HF_TOKEN",
        "MY_SECRET",
        "DB_PASSWORD",
        "DB_PASSWD",
        "GH_PAT",
        "KEY",
        "TOKEN",
        "AZURE_CREDENTIALS",
        "SENTRY_DSN",
        "SSH_PASSPHRASE",
        "MYSQL_PWD",
        "access_key_id",
    ]
    for name in telling:
        monkeypatch.setenv(name, "12345678")
    for name in ("EDITOR", "PWD", "OLDPWD", "PATH", "KEYBOARD", "MONKEY", "PATTERN", "COMPATIBLE"):
        monkeypatch.setenv(name, "12345678")
    monkeypatch.setenv("SHORT_KEY", "1234567")
    assert {name for name, _ in notebook.secret_values()} == set(telling)
    monkeypatch.setenv("DATABASE_URL", "postgres://me:pa55@host/db")
    monkeypatch.setenv("MINE", "in no list")
    found = notebook.secret_values({"MINE"})
    assert ("DATABASE_URL", "pa55") in found
    assert ("MINE", "in no list") in found


def test_the_variables_that_a_notebook_names_as_keys_are_secrets() -> None:
    cells = [
        "chat = Chat(url, 'm', key_env='JUDGE_LOGIN')",
        'said = Dialect(headers={"api-key": "$OTHER_LOGIN"})',
        "price = '$5'",
    ]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    assert notebook.keys_named(made) >= {"JUDGE_LOGIN", "OTHER_LOGIN"}


TWO = """
import os
import sys
from pathlib import Path
from rar_lib.book.notebook import execute
folder, word = Path(sys.argv[1]), sys.argv[2]
(folder / f"{word}.ready").touch()
while len(list(folder.glob("*.ready"))) < 2:
    pass
execute(folder / f"{word}.ipynb", folder / f"out-{word}.ipynb", {"word": word}, cwd=folder,
        cell_timeout_s=60)
left = list(Path(os.environ["TMPDIR"]).glob("rar-*"))
assert not left, left  # while the process goes on: its next chapters have folders of their own
"""


@pytest.mark.fault
def test_two_notebooks_run_in_one_folder_at_the_same_moment(tmp_path: Path) -> None:
    running = []
    for word in ("left", "right"):
        first = nbformat.v4.new_code_cell("word = ''")
        first.metadata["tags"] = ["parameters"]
        said = nbformat.v4.new_code_cell("import time; time.sleep(0.5); print('I am', word)")
        made = nbformat.v4.new_notebook(cells=[first, said])
        nbformat.write(made, tmp_path / f"{word}.ipynb")
        (tmp_path / f"tmp-{word}").mkdir()
    for word in ("left", "right"):
        program = [sys.executable, "-c", TWO, str(tmp_path), word]
        env = {**os.environ, "TMPDIR": str(tmp_path / f"tmp-{word}")}
        running.append(subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env=env))
    errors = [process.communicate(timeout=180)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    for word in ("left", "right"):
        assert f"I am {word}" in (tmp_path / f"out-{word}.ipynb").read_text()
    assert not list(tmp_path.glob("*ipc*"))


def test_a_kernel_has_longer_to_end_than_a_server_that_it_stops() -> None:
    """jupyter_client kills a kernel after half of its wait."""
    kernel = notebook._this_python()()
    assert kernel.shutdown_wait_time / 2 > GRACE_S
    kernel._sockets.cleanup()


def test_a_cell_is_placed_under_its_nearest_heading() -> None:
    markdown = nbformat.v4.new_markdown_cell
    code = nbformat.v4.new_code_cell
    cells = [
        code("x"),
        markdown("# Judge\n\nText\n\n```\n# no heading\n```"),
        code("# none either"),
        markdown("text\n\n## The `gate` of {doc}`04` **now** ##"),
        code("y"),
    ]
    found = notebook.places(nbformat.v4.new_notebook(cells=cells))
    assert [(p.cell, p.heading) for p in found] == [
        (1, ""),
        (2, "Judge"),
        (3, "Judge"),
        (4, "The gate of 04 now"),
        (5, "The gate of 04 now"),
    ]
    assert {p.cells for p in found} == {5}


@pytest.mark.fault
def test_every_cell_of_the_source_is_told_when_it_begins(tmp_path: Path) -> None:
    write_notebook(tmp_path / "n.ipynb", PARAMETERS, "1", "2")
    told: list[notebook.Place] = []
    notebook.execute(
        tmp_path / "n.ipynb",
        tmp_path / "out.ipynb",
        {"profile": "smoke"},
        cwd=tmp_path,
        cell_timeout_s=60,
        tell=told.append,
    )
    assert [(p.cell, p.cells) for p in told] == [(1, 3), (2, 3), (3, 3)]  # not the injected one
