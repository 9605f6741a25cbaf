"""The book: its sources, with notebooks that were executed, become static HTML, EPUB or PDF.

papermill has executed the notebooks; nothing is executed here. The steps are: stage
(sources and checked notebooks side by side, and what is computed from records: the landing page's
answers, the page on the study, the status page), render (jupyter-book, warnings are errors), fill
(the page of rollouts, from what the chapters' runs and the study have kept), draw (our SVG into its
pages), fold (what is folded and shows nothing, into one), lead (to Colab and Binder, if the book
names a public repository), harden (a Content-Security-Policy in every page), swap (the old book
stays readable until the new one is complete). A key over all inputs makes an unchanged book free.

What a page says is made in :mod:`rar_lib.book.pages`, and what may stand in one is decided by its
:mod:`~rar_lib.book.pages.gate`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rar_lib.book import claims, figures, results
from rar_lib.book.pages.after import AFTER, told_after
from rar_lib.book.pages.citation import CITED, citation
from rar_lib.book.pages.editions import EDITION, TIMEOUT_S, is_current, keep, packed, printed
from rar_lib.book.pages.folds import fold
from rar_lib.book.pages.gate import check_page, clean_notebook, clean_svg, draw, load_notebook
from rar_lib.book.pages.landing import (
    ARMS_FIGURE,
    CLAIMS_DRAWING,
    JUDGES_DRAWING,
    LOOP_DRAWING,
    arm_curves,
    landing,
    loop_drawing,
)
from rar_lib.book.pages.links import elsewhere, lead, repository
from rar_lib.book.pages.rollouts import FIVE_ARMS, ROLLOUTS, RUNS, browsed_units, fill
from rar_lib.book.pages.status import STATUS, read_manifest, reproduced, run_line, status_page
from rar_lib.book.pages.training_study import PILOT_FIGURE, STUDY, pilot_curves, studied
from rar_lib.book.pages.unrecorded import LeftOut, recorded
from rar_lib.book.pages.words import GENERATED, TRAINING
from rar_lib.book.reproduce import altered
from rar_lib.core.errors import ReproduceError
from rar_lib.core.files import digest, file_hash
from rar_lib.training.run import TRANSCRIPT

_log = logging.getLogger(__name__)
KEY_FILE = ".book-key"
RENDERERS = (
    "jupyter-book",
    "Sphinx",
    "myst-nb",
    "sphinx-book-theme",
    "sphinx-exercise",
    "latex2mathml",
)
# file: beside 'self', because what 'self' means for a page opened from disk is left to the
# browser (Chromium takes it as file:, others need not). Over http it matches nothing.
CSP = (
    "default-src 'none'; script-src 'self' file: {hashes}; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data:; font-src 'self' file:; connect-src 'self'; "
    "form-action 'self' file:; base-uri 'none'; object-src 'none'"
)
INLINE_SCRIPT = re.compile(r"<script(?P<attrs>[^>]*)>(?P<body>.*?)</script>", re.S | re.I)
ONCLICK_PRINT = 'onclick="window.print()"'


def build(executed: Path, book: Path, out: Path, *, repo: Path) -> Path:
    """Build the book and return its ``html`` folder.

    Args:
        executed: folder of executed notebooks ``<stem>.ipynb`` with ``<stem>.json`` manifests.
        book: the book's sources (``_config.yml``, ``_toc.yml``, prose pages).
        out: where ``src`` (staging) and ``html`` (the result) go.
        repo: repository root; its absolute path is cut out of every output.

    Raises:
        ReproduceError: a notebook is missing, unfinished or carries active content, the
            repository is not on GitHub, or jupyter-book reported a warning. The previous ``html``
            is left as it was.
    """
    where = repository(book)
    notebooks = _notebooks(executed, book, repo)
    html = out / "html"
    old = out / ".html.old"
    if old.exists() and not html.exists():  # killed between the two renames of _swap
        old.rename(html)
    made = generated(repo) | {CITED: citation(book)}
    links: dict[str, str] = {}
    if where:
        known = {
            stem: load_notebook(path)["metadata"].get("rar", {}) for stem, path in notebooks.items()
        }
        links = elsewhere(known, where, results.load("times", repo))
    key = input_key(book, executed, list(notebooks), made | links | browsed_units(repo))
    if (html / KEY_FILE).is_file() and (html / KEY_FILE).read_text() == key:
        _log.info(f"book: unchanged, nothing to build ({_shown(html / 'index.html', repo)})")
        return html
    src = _stage(book, notebooks, out / "src", repo)
    _write(src, made)
    rendered = _render(src, out / ".work")
    fill(rendered, executed / "data", repo)
    draw(rendered, src)
    fold(rendered)
    lead(rendered, links)
    _harden(rendered)
    (rendered / KEY_FILE).write_text(key)
    _swap(rendered, html, old)
    shutil.rmtree(out / ".work", ignore_errors=True)
    _log.info(f"book: built {len(chapters(book)) + 1} pages ({_shown(html / 'index.html', repo)})")
    return html


def write_epub(executed: Path, book: Path, out: Path, *, repo: Path) -> Path:
    """Write the whole book as EPUB 3 into ``out``; an unchanged one is left as it is.

    Args:
        executed: as for :func:`build`.
        book: as for :func:`build`.
        out: where it goes, beside the pages.
        repo: as for :func:`build`.

    Raises:
        ReproduceError: as for :func:`build`. The previous file is left as it was.
    """
    path = out / f"{EDITION}.epub"
    notebooks = _notebooks(executed, book, repo)
    made = generated(repo) | {CITED: citation(book)}
    key = input_key(book, executed, list(notebooks), made | browsed_units(repo))
    if is_current(path, key):
        return path
    work = out / ".work-epub"
    src = _stage(book, notebooks, out / "src", repo)
    _write(src, made)
    (epub,) = _render(src, work, "epub").glob("*.epub")
    keep(path, packed(epub, book, executed / "data", repo), key)
    shutil.rmtree(work, ignore_errors=True)
    return path


def write_pdf(book: Path, out: Path) -> Path:
    """Print the pages that :func:`build` has made into one PDF; an unchanged one is left.

    Args:
        book: the book's sources, for the order of its pages.
        out: the folder that holds ``html``; the PDF goes there.

    Raises:
        ReproduceError: no Chromium is here, or it failed.
    """
    path = out / f"{EDITION}.pdf"
    html = out / "html"
    key = (html / KEY_FILE).read_text(encoding="utf-8")
    if is_current(path, key):
        return path
    work = (out / "print").resolve()
    keep(path, printed(html, ["index", *chapters(book)], work), key)
    shutil.rmtree(work, ignore_errors=True)
    return path


def generated(repo: Path) -> dict[str, str]:
    """What the book computes for its pages: file -> text that it gets, or that it is.

    Of a page with several places ``file#place`` -> text of that one.

    Args:
        repo: whose ``results/`` are read.

    Raises:
        DataError: a record or a finding is damaged.
    """
    alignment = results.load("alignment", repo)
    arms = results.load("arms", repo)
    rows = claims.ledger(checkout=repo)
    drawn = {
        ARMS_FIGURE: arm_curves(arms),
        PILOT_FIGURE: pilot_curves(results.load("design", repo), results.load("pilot", repo)),
    }
    return {
        "index.md": landing(rows, alignment, arms),
        **{f"{AFTER}.md#{place}": text for place, text in told_after(arms, rows).items()},
        f"{STATUS}.md": reproduced(results.load("times", repo)),
        **{f"{STUDY}.md#{place}": text for place, text in studied(repo).items()},
        JUDGES_DRAWING: figures.judge_drawing(results.judges(alignment)),
        CLAIMS_DRAWING: figures.share_drawing(claims.counts(rows)),
        LOOP_DRAWING: loop_drawing(),
        **{name: clean_svg(figures.as_svg(one) or "") for name, one in drawn.items() if one},
    }


def chapters(book: Path) -> list[str]:
    """Return the pages named in ``_toc.yml``, in order, without the root."""
    import yaml

    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    return [entry["file"] for part in toc["parts"] for entry in part["chapters"]]


def input_key(
    book: Path, executed: Path, stems: list[str], made: Mapping[str, str] | None = None
) -> str:
    """Return a SHA-256 over everything that decides what the book looks like.

    Args:
        made: what :func:`generated` returned, and whatever else of records a page shows.
    """
    # Pages use arithmetic and readers of other rooms, too, and are built within a minute or two.
    library = Path(__file__).parents[2]
    ran: list[Path] = []
    for stem in stems:
        ran += [executed / f"{stem}.ipynb", executed / f"{stem}.json"]
    for run in RUNS:
        folder = executed / "data" / run
        ran += [folder / "run.json", folder / TRANSCRIPT]
    ran.append(executed / "data" / f"{FIVE_ARMS}.json")
    renderers = {name: version(name) for name in RENDERERS}
    read = [_hashes(book, book.rglob("*")), _hashes(library, library.rglob("*"))]
    return digest([dict(made or {}), renderers, *read, _hashes(executed, ran)])


def _hashes(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of those that are files, by their place in the folder: names come in many rooms."""
    kept = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in kept}


def _notebooks(executed: Path, book: Path, repo: Path) -> dict[str, Path]:
    """The executed notebook of each chapter that is one."""
    stems = chapters(book)
    notebooks = {
        stem: executed / f"{stem}.ipynb" for stem in stems if not (book / f"{stem}.md").exists()
    }
    notebooks.pop(STATUS, None)
    missing = [stem for stem, path in notebooks.items() if not path.is_file()]
    if missing:
        raise ReproduceError(
            f"{len(missing)} executed notebook(s) missing in {_shown(executed, repo)}: "
            f"{', '.join(missing)}. Run: make reproduce"
        )
    for stem, path in notebooks.items():
        if why := altered(path):
            raise ReproduceError(f"{stem}: {why} since it was run. Run: make reproduce")
    return notebooks


def _stage(book: Path, notebooks: dict[str, Path], src: Path, repo: Path) -> Path:
    """Fill ``src`` with the sources and the checked notebooks."""
    shutil.rmtree(src, ignore_errors=True)
    shutil.copytree(book, src, ignore=shutil.ignore_patterns("__pycache__"))
    manifests: dict[str, dict[str, Any] | None] = {}
    titles: dict[str, str] = {}
    left_out: dict[str, list[LeftOut]] = {}
    for stem, path in notebooks.items():
        manifests[stem] = read_manifest(path.with_suffix(".json"))
        line = run_line(manifests[stem])
        if stem == TRAINING and (book / f"{ROLLOUTS}.md").is_file():
            line += f" · [its rollouts, one by one]({ROLLOUTS}.md)"
        notebook = clean_notebook(load_notebook(path), path.name, repo, line)
        titles[stem] = notebook["metadata"]["title"]
        notebook["cells"], left_out[stem] = recorded(
            notebook["cells"], lambda name: results.find(name, repo) is not None
        )
        (src / path.name).write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    page = status_page(manifests, titles, left_out)
    (src / f"{STATUS}.md").write_text(page, encoding="utf-8")
    return src


def _write(src: Path, made: Mapping[str, str]) -> None:
    """Put what is computed into the staged sources.

    Raises:
        ReproduceError: a page has no place for it, or several.
    """
    for named, text in made.items():
        name, _, place = named.partition("#")
        path = src / name
        marked = f"{GENERATED} {place}".rstrip()
        if path.suffix != ".md":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif path.is_file():
            lines = path.read_text(encoding="utf-8").split("\n")
            if (places := lines.count(marked)) != 1:
                raise ReproduceError(
                    f"{name} has {places} lines {marked!r}, one is needed: what the book "
                    "computes takes its place"
                )
            lines[lines.index(marked)] = text
            path.write_text("\n".join(lines), encoding="utf-8")


def _render(src: Path, work: Path, builder: str = "html") -> Path:
    """Run jupyter-book on ``src``; return the folder that ``builder`` of Sphinx has filled."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(src), "--path-output", str(work), "-W", "-n", "--keep-going", "-q"]
    if builder != "html":
        command += ["--builder", "custom", "--custom-builder", builder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    made = work / "_build" / builder
    if done.returncode != 0 or not made.is_dir():
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr).replace(f"{src}/", "")
        lines = [line for line in said.splitlines() if re.search("WARNING|ERROR|Error: ", line)]
        detail = "\n".join(lines or said.splitlines()[-15:])
        raise ReproduceError(f"jupyter-book reported problems; correct these:\n{detail}")
    return made


def _harden(html: Path) -> None:
    """Check every page and give it a policy that allows its own scripts only.

    The inline scripts that get a hash are the theme's: :func:`check_page` has refused any
    page with a script inside the article, where notebook and prose content goes.
    """
    for page in sorted(html.rglob("*.html")):
        text = page.read_text(encoding="utf-8").replace(ONCLICK_PRINT, "data-rar-print")
        check_page(text, str(page.relative_to(html)))
        hashes = []
        for script in INLINE_SCRIPT.finditer(text):
            if "src=" not in script["attrs"] and "application/json" not in script["attrs"]:
                hashed = hashlib.sha256(script["body"].encode("utf-8")).digest()
                hashes.append(f"'sha256-{base64.b64encode(hashed).decode()}'")
        policy = CSP.format(hashes=" ".join(sorted(set(hashes))))
        tag = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        page.write_text(re.sub(r"<head>", f"<head>\n    {tag}", text, count=1), encoding="utf-8")
    for leftover in (".buildinfo", "objects.inv"):  # only other Sphinx builds read them
        (html / leftover).unlink(missing_ok=True)


def _swap(new: Path, html: Path, old: Path) -> None:
    """Put ``new`` in place of ``html``: two renames, and a kill between them is healed above."""
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.rename(old)
    new.rename(html)
    shutil.rmtree(old, ignore_errors=True)


def _shown(path: Path, repo: Path) -> str:
    resolved = path.resolve()
    root = repo.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else path.name
