"""One notebook, executed whole or not at all.

papermill claims success for a notebook whose kernel was killed or whose cell timed
out, so its word is not taken: a copy counts only if every code cell has an execution
count and no error output. Then it is cleaned of local paths, refused if it holds a
secret, and only then renamed to its place.
"""

from __future__ import annotations

import copy
import json
import os
import re
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar_lib.core.errors import ReproduceError
from rar_lib.core.files import atomic_write

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Environment variable: the folder in which a chapter works while the runner executes it.
WORK = "RAR_WORK"
#: File in it: what was read of ``results/``, one JSON line a time.
READS = "reads.jsonl"
SIZE_LIMIT = 5_000_000  # bytes of an executed notebook
IOPUB_TIMEOUT_S = 60  # papermill's own 4 s fail on a busy machine
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:api_?|access_?)?keys?(?:_|$)|apikey|token|secret|passw(?:or)?d|passphrase|_pwd$|_pass$"
    r"|(?:^|_)pat(?:_|$)|credential|(?:^|_)dsn(?:_|$)",
    re.IGNORECASE,
)
#: A password inside an address, as in DATABASE_URL.
_IN_ADDRESS = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
#: Variables that a notebook itself names as holding a key.
_NAMED = re.compile(r"""key_env\s*=\s*["'](\w+)["']|["']\$(\w+)["']""")
_ADDED = {"injected-parameters", "papermill-error-cell-tag"}
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*")
_MARKUP = re.compile(r"\{\w+(?::\w+)?\}|[`*]")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read(path: Path) -> NotebookNode:
    """The notebook as version 4.

    Raises:
        ReproduceError: it is not a notebook.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat raises many types for a broken file
        raise ReproduceError(f"{path} is not a readable notebook: {error}") from error


def work() -> Path | None:
    """The folder in which the runner has this chapter work; ``None`` in a person's own session."""
    folder = os.environ.get(WORK)
    return Path(folder) if folder else None


def check_parameters(path: Path, names: set[str]) -> None:
    """Every name must be set in the cell tagged `parameters`; papermill would only warn.

    Raises:
        ReproduceError: a name is missing there.
    """
    import papermill

    notebook = read(path)
    # Which kernel runs it is ours to say (`execute`), whatever stands in the file, or does not.
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python"}
    known = set(papermill.inspect_notebook(notebook))
    if missing := sorted(names - known):
        raise ReproduceError(
            f"{path.name}: parameter {', '.join(missing)} is not set in a cell tagged "
            f"`parameters` (it sets: {', '.join(sorted(known)) or 'nothing'}); add it there"
        )


@dataclass(frozen=True)
class Place:
    """A cell of a running notebook.

    Attributes:
        cell: its number as in the source, from 1; text cells count.
        cells: how many there are.
        heading: the nearest one above it, in plain text; empty before the first.
    """

    cell: int
    cells: int
    heading: str


def places(notebook: NotebookNode) -> list[Place]:
    """Every cell with the heading that it stands under; a heading inside a fence is none."""
    found = []
    heading = ""
    for number, cell in enumerate(notebook.cells, 1):
        fenced = False
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            fenced ^= line.lstrip().startswith(("```", "~~~"))
            if not fenced and (match := _HEADING.fullmatch(line)):
                heading = _MARKUP.sub("", match[1])
        found.append(Place(number, len(notebook.cells), heading))
    return found


def _teller(source: NotebookNode, tell: Callable[[Place], None]) -> Callable[..., None]:
    """nbclient's hook for the start of each cell, those that papermill adds left out."""
    coming = iter(places(source))

    def on_cell_start(cell: NotebookNode, cell_index: int) -> None:
        if not _ADDED & set(cell.metadata.get("tags", [])):
            tell(next(coming))

    return on_cell_start


def execute(
    source: Path,
    target: Path,
    parameters: dict[str, Any],
    *,
    cwd: Path,
    cell_timeout_s: int,
    failed: Path | None = None,
    tell: Callable[[Place], None] | None = None,
) -> dict[str, Any]:
    """Run ``source`` and put the executed copy at ``target``; returns ``cells`` and ``bytes``.

    On any failure ``target`` keeps its old content, and what ran is kept as ``failed``, by default
    ``<stem>.failed.ipynb`` beside it. ``tell`` hears of every cell when it begins.

    Raises:
        ReproduceError: names notebook, cell, error and the failed copy.
    """
    import papermill

    check_parameters(source, set(parameters))
    running = target.with_name(f".{target.stem}.running.ipynb")
    failed = failed or target.with_name(f"{target.stem}.failed.ipynb")
    scrub = scrubber(cwd)
    try:
        error: Exception | None = None
        try:
            papermill.execute_notebook(
                source,
                running,
                parameters,
                kernel_name="python3",
                language="python",
                kernel_manager_class=_this_python(),
                cwd=cwd,
                progress_bar=False,  # it would know neither heading nor time: ``tell`` does
                log_output=False,
                on_cell_start=_teller(read(source), tell) if tell else None,
                execution_timeout=cell_timeout_s,
                iopub_timeout=IOPUB_TIMEOUT_S,
            )
        except Exception as raised:  # papermill, nbclient and the kernel's transport
            error = raised
        if not running.exists():
            raise ReproduceError(f"{source.name} could not be started: {error}") from error
        notebook = read(running)
        fault = _fault(notebook, error)
        secrets = {value for _, value in secret_values(keys_named(read(source)))}
        if not fault and (leaked := _leak(notebook)):
            fault = f"it shows the value of {leaked}; print no key and no environment"
        clean = _map_outputs(notebook, scrub)
        text = _text(clean)
        if not fault and len(text.encode()) > SIZE_LIMIT:
            fault = (
                f"the executed copy has {len(text.encode()) / 1e6:.1f} MB, the limit is "
                f"{SIZE_LIMIT / 1e6:.0f} MB; print less, or save figures smaller"
            )
        if fault:
            clean = _map_outputs(clean, lambda output: mask(output, secrets))
            if _leak(clean):  # split over outputs, or in a form that mask cannot see
                for cell in _code_of(clean):
                    cell.outputs = []
            atomic_write(failed, _text(clean))
            raise ReproduceError(
                f"{source.name} did not run to its end: {mask(fault, secrets)}. "
                f"What ran: {failed}. Fix the cause and run again; finished notebooks are kept"
            ) from None
        atomic_write(running, text)
        os.replace(running, target)
        failed.unlink(missing_ok=True)
        return {"cells": len(_code_of(clean)), "bytes": len(text.encode())}
    finally:
        running.unlink(missing_ok=True)


def _code_of(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def secret_values(named: Collection[str] = ()) -> list[tuple[str, str]]:
    """Name and value of every environment variable that looks like a credential.

    Args:
        named: variables that are known to hold one, whatever they are called.
    """
    found = []
    for name, value in sorted(os.environ.items()):
        if inside := _IN_ADDRESS.search(value):
            found += [(name, value), (name, inside[1])]
        elif len(value) >= 8 and (name in named or _SECRET_NAME.search(name)):
            found.append((name, value))
    return found


def keys_named(notebook: NotebookNode) -> set[str]:
    """Environment variables that the cells name as holding a key: ``key_env``, or ``"$NAME"``."""
    text = "\n".join(cell.source for cell in notebook.cells)
    return {name for pair in _NAMED.findall(text) for name in pair if name}


def mask(text: str, secrets: set[str]) -> str:
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def scrubber(root: Path) -> Callable[[str], str]:
    """Replaces this machine's paths: the checkout by `.`, RAR_HOME and the home folder."""
    places = [(str(root.resolve()), "."), (str(root), "."), (str(Path.home()), "~")]
    if home := os.environ.get("RAR_HOME"):
        places.append((str(Path(home)), "$RAR_HOME"))
        places.append((str(Path(home).resolve()), "$RAR_HOME"))
    # The longest first: the checkout usually lies in the home folder.
    places.sort(key=lambda place: -len(place[0]))
    table = {path: shown for path, shown in places if path not in ("/", ".")}
    names = "|".join(map(re.escape, table)) or r"(?!)"
    # Only whole path components: /root must not change /rootfs.
    pattern = re.compile(rf"(?<![\w.~-])({names})(?![\w-])")

    def scrub(text: str) -> str:
        text = re.sub(r"/tmp/ipykernel_\d+/\d+\.py", "<cell>", text)
        return pattern.sub(lambda match: table[match[1]], text)

    return scrub


def _this_python() -> type:
    """A kernel manager that starts the interpreter running this code, whatever is installed.

    A kernelspec named python3 in the user's folders may point at another Python; without
    any folder to look in, jupyter_client makes the spec from ``sys.executable``.
    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        def __init__(self, **settings: Any) -> None:
            specs = KernelSpecManager(kernel_dirs=[])
            # Sockets in the file system: nobody else on the machine can connect.
            # In a folder of their own: two runs in one checkout must not take the same ones.
            self._sockets = tempfile.TemporaryDirectory(prefix="rar-")
            own: dict[str, Any] = {"transport": "ipc", "ip": f"{self._sockets.name}/k"}
            # Half of it passes before a kernel is killed, and its end stops a judge's server, which
            # has GRACE_S (server.py): the next chapter must not start its own beside that one.
            own["shutdown_wait_time"] = 30.0
            super().__init__(**{**settings, "kernel_spec_manager": specs, **own})

        async def _async_cleanup_resources(self, restart: bool = False) -> None:
            await super()._async_cleanup_resources(restart=restart)
            if not restart:
                self._sockets.cleanup()

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            # Shutting down interrupts an idle kernel, which would log that as an error.
            return super().format_kernel_cmd([*(extra_arguments or []), "--log-level=CRITICAL"])

    return ThisPython


def _fault(notebook: NotebookNode, error: Exception | None) -> str | None:
    """Which cell failed and how, or None if the whole notebook ran."""
    # Numbered as in the source: papermill adds a parameter cell and an error banner.
    written = [cell for cell in notebook.cells if not _ADDED & set(cell.metadata.get("tags", []))]
    code = [
        (n, cell)
        for n, cell in enumerate(written, 1)
        if cell.cell_type == "code" and cell.source.strip()
    ]
    for number, cell in code:
        # A timeout interrupts the kernel, whose KeyboardInterrupt is not the cause.
        for output in [] if type(error).__name__ == "CellTimeoutError" else cell.outputs:
            if output.output_type == "error":
                lines = _ANSI.sub("", f"{output.ename}: {output.evalue}").strip().splitlines()
                return f"{_where(number, cell)}: {lines[0]}"
    if error is not None:
        # The kernel died or the time was up: the last cell that began is the one.
        began = [x for x in code if (x[1].metadata.get("papermill") or {}).get("start_time")]
        number, cell = began[-1] if began else code[0]
        return f"{_where(number, cell)}: {_said(cell) or _named(error)}"
    for number, cell in code:
        if cell.execution_count is None:
            return f"{_where(number, cell)}: it was never run"
    return None


def _said(cell: NotebookNode) -> str:
    """The last line of a traceback that a kernel could only write to its error stream."""
    written = "".join(output.text for output in cell.outputs if output.get("name") == "stderr")
    _, traceback, said = written.rpartition("Traceback (most recent call last):\n")
    lines = [line for line in _ANSI.sub("", said).splitlines() if line[:1].strip()]
    return lines[0] if traceback and lines else ""


def _named(error: Exception) -> str:
    lines = _ANSI.sub("", str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _where(number: int, cell: NotebookNode) -> str:
    return f"cell {number} (`{cell.source.strip().splitlines()[0][:80]}`)"


def _leak(notebook: NotebookNode) -> str | None:
    """The name of a secret whose value is anywhere in the notebook, or None."""
    found: list[str] = []

    def collect(text: str) -> str:
        found.append(_ANSI.sub("", text))
        return text

    _map(notebook, collect)
    for cell in notebook.cells:
        # A value may be split over two prints.
        outputs = cell.get("outputs", [])
        streams = [output.text for output in outputs if output.output_type == "stream"]
        found.append(_ANSI.sub("", "".join(streams)))
    everything = "\n".join(found)
    for name, value in secret_values():
        if value in everything or json.dumps(value)[1:-1] in everything:
            return name
    return None


def _map(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with ``change`` applied to every string in it, keys left alone."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map(item, change) for item in value]
    if isinstance(value, dict):
        return type(value)({key: _map(item, change) for key, item in value.items()})
    return value


def _map_outputs(notebook: NotebookNode, change: Callable[[str], str]) -> NotebookNode:
    """A copy with outputs and metadata changed; the sources stay as they were written."""
    new = copy.deepcopy(notebook)
    new.metadata = _map(new.metadata, change)
    for cell in new.cells:
        cell.metadata = _map(cell.metadata, change)
        if cell.cell_type == "code":
            cell.outputs = [_map(output, change) for output in cell.outputs]
    return new


def _text(notebook: NotebookNode) -> str:
    import nbformat

    return str(nbformat.writes(notebook)) + "\n"
