"""Executed notebooks for the book tests: five rich ones, the others minimal."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from rar_lib.book import figures
from rar_lib.book.figures import as_svg
from rar_lib.book.pages.build import chapters
from rar_lib.core.stats import Interval

# What an author might paste into a Markdown cell and still get a book.
_PASTED = [
    "<script>window.pwned = 1</script>",
    '<img src=x onerror="window.pwned = 1">',
    "[click](javascript:window.pwned=1)",
    "<javascript:window.pwned=1>",
    '<a href="javascript:window.pwned=1">a</a>',
    "<svg onload=window.pwned=1></svg>",
    "</pre></div><iframe src=javascript:window.pwned=1></iframe>",
    "\x1b[31mred\x1b[0m \x1b]8;;javascript:window.pwned=1\x07click\x1b]8;;\x07 \x1b[2J",
]
# What would be obeyed as Markdown of a cell, or fail the build; in an output it is text.
DIRECTIVES = [
    ":::{include} conventions.md",
    ":::",
    "```{raw} html",
    '<img src=x onerror="window.pwned = 1">',
    "```",
    "{eval-rst}`x` and {raw}`y` and $\\text{<img src=x onerror=alert(1)>}$",
]
HOSTILE = "\n".join([*_PASTED, *DIRECTIVES])
HOSTILE_MARKDOWN = "\n\n".join(_PASTED)
WIDE_TABLE = (
    "<style scoped>.dataframe tbody tr th { vertical-align: top; }</style>"
    "<table border='1' class='dataframe'><thead><tr>@HEAD</tr></thead><tbody>@ROWS</tbody></table>"
)


def png(width: int = 640, height: int = 360) -> str:
    """A base64 PNG: a white field with a dark diagonal."""
    rows = b""
    for y in range(height):
        x = y * width // height
        rows += b"\x00" + bytes(60 if abs(i - x) < 4 else 255 for i in range(width))

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode()


def code(source: str, *outputs: Any, tags: tuple[str, ...] = ()) -> Any:
    """An executed code cell."""
    cell = new_code_cell(source, outputs=list(outputs), execution_count=1)
    cell.metadata["tags"] = list(tags)
    return cell


def shown(data: dict[str, str]) -> Any:
    """An output of one or more types."""
    return new_output("display_data", data={"text/plain": "<plain>", **data})


def rich_notebook(title: str) -> Any:
    """Objectives, math, a wide table, a figure, a hidden set-up cell, a note."""
    names = ["task", "arm", "judge", "reward", "unscored", "verdicts", "rating", "tokens", "note"]
    head = "<th></th>" + "".join(f"<th>{n}</th>" for n in names)
    row = "<td>ice-floats</td><td>explicit</td><td>qwen-1.5b</td><td>0.76</td><td>0</td><td>4</td>"
    row += "<td>7</td><td>412</td><td>Says that ice is less dense than liquid water &lt;b&gt;</td>"
    rows = "".join(f"<tr><th>{i}</th>{row}</tr>" for i in range(6))
    return new_notebook(
        cells=[
            new_markdown_cell(
                f"# {title}\n\n**You will learn** how a rubric becomes a number; see the"
                " [conventions](../book/conventions.md#polarity) and the"
                " {term}`advantage <Advantage>` {cite:p}`rar`."
            ),
            code("import rar_lib  # set-up", tags=("hide-input",)),
            new_markdown_cell(
                "## The reward\n\nInline $w_j \\ge 0$ and displayed:\n\n"
                "$$\nr = \\frac{\\sum_j w_j\\, c_j}{\\sum_j w_j}, \\quad "
                "\\hat A_i = \\frac{r_i - \\bar r}{\\sigma(r)}\n$$\n\n"
                "$$\n\\begin{aligned} a &= b + c \\\\ &= \\mathbb{E}_{y\\sim\\pi_\\theta}[r]\n"
                "\\end{aligned}\n$$"
            ),
            code(
                "table",
                shown({"text/html": WIDE_TABLE.replace("@HEAD", head).replace("@ROWS", rows)}),
            ),
            new_markdown_cell("### Reward by arm"),
            code(
                "plot(rewards, title='A rather long line of code that has to scroll inside of its "
                "own box on a telephone and on a desk')",
                shown({"image/png": png()}),
            ),
            new_markdown_cell(
                ":::{note}\nA wordgolem note.\n:::\n\n- one\n- two\n\n```python\nx = 1\n```"
            ),
        ]
    )


def hostile_notebook(title: str) -> Any:
    """The same text as a plain output, as stream, and in Markdown; a directive as well."""
    return new_notebook(
        cells=[
            new_markdown_cell(f"# {title}"),
            new_markdown_cell(HOSTILE_MARKDOWN),
            code("print(text)", new_output("stream", name="stdout", text=HOSTILE + "\n")),
            code(
                "text",
                new_output("execute_result", data={"text/plain": HOSTILE}, execution_count=1),
            ),
            code("say(text)", shown({"text/markdown": "\n".join(DIRECTIVES[:2])})),
        ]
    )


def table(columns: list[str], row: list[str], times: int = 3) -> str:
    """A table as pandas writes it, of equal rows."""
    head = "".join(f"<th>{c}</th>" for c in columns)
    body = "<tr>" + "".join(f"<td>{v}</td>" for v in row) + "</tr>"
    return (
        f"<table class='dataframe'><thead><tr>{head}</tr></thead><tbody>{body * times}</tbody>"
        "</table>"
    )


GRADING = ["judge", "arm", "ties half", "strict", "share read", "unscored pairs", "calls per pair"]
VALUES = ["smollm2-135m", "reference_likert", "0.54 [0.31, 0.77]", "0.50 (n = 2)", "0.9", "0", "2"]
STEPS = [f"column {i}" for i in range(24)]


def drawing() -> str:
    """A figure of the book as a notebook shows it, wider than a telephone."""
    intervals = {f"row {n}": Interval(n / 4, n / 4 - 0.2, n / 4 + 0.2, 9) for n in range(-2, 3)}
    wide = figures.forest(intervals, xlabel="difference")
    wide.set_size_inches(8, 3)
    drawn = as_svg(wide)
    assert drawn is not None
    return drawn


def tables_notebook() -> Any:
    """Chapter 4: tables that fit and that do not, figures, captions written and derived."""
    own_words = table(["a", "b"], ["1", "2"]).replace(
        "<thead>", "<caption>Its own words.</caption><thead>"
    )
    drawn = 'figures.strips(\n xlabel="reward of <b>x</b>"\n)'
    return new_notebook(
        cells=[
            new_markdown_cell(
                "# Can the judge be trusted?\n\nThe margin is an advantage, and the advantage is"
                " 0.2 [0.1, 0.3] (n = 9). `margin` is code. See {shown}`by-size`."
            ),
            new_markdown_cell("## How often is it right?"),
            code("t", shown({"text/html": table(GRADING, VALUES)})),
            code("figures.by_size(\n xlabel='x')", shown({"image/svg+xml": drawing()})),
            new_markdown_cell("## Not in the file of captions"),
            code("t", shown({"text/html": table(STEPS, ["0.50 [0.31, 0.77]"] * 24)})),
            code(drawn, shown({"image/png": png(8, 8)})),
            code("t", shown({"text/html": own_words})),
        ]
    )


#: Ends the solution of an exercise.
END = ":::{solution-end}\n:::"


def exercise(label: str, title: str) -> str:
    """An exercise, and the beginning of its solution."""
    return (
        f":::{{exercise}} {title}\n:label: {label}\n\nWhat is lost?\n\n*Hint.* `read`\n:::\n\n"
        f":::{{solution-start}} {label}\n:label: {label}-solution\n:class: dropdown\n:::"
    )


def exercises_notebook() -> Any:
    """Chapter 5, as the notebooks are written: two exercises behind its last section."""
    verdicts = table(["verdict", "reward"], ["met", "0.36"], times=1)
    return new_notebook(
        cells=[
            new_markdown_cell("# Down to the criterion\n\nAfter {ref}`ex-two` you know."),
            code("t", shown({"text/html": verdicts})),
            new_markdown_cell("## What we learnt\n\n- Little."),
            new_markdown_cell("## Exercises\n\n" + exercise("ex-one", "One verdict at a time")),
            code(f"tables.table(rows)  # {'long ' * 30}", shown({"text/html": verdicts})),
            code(
                "say(x)",
                shown({"text/markdown": "The *unscored* one, a hedgehogword."}),
                tags=("hide-input",),
            ),
            new_markdown_cell(f"{END}\n\n{exercise('ex-two', 'Two')}"),
            code('figures.strips(\n xlabel="x")', shown({"image/png": png()})),
            new_markdown_cell(f"So it is.\n\n{END}"),
        ]
    )


FOLDED = ("hide-input",)
#: Source of each cell of chapter 7 -> its tags; SHOWS shows something, and "" is a text.
CELLS = {
    "first = 1": FOLDED,
    "second = '<b>'\n\n\ndef f():\n    return 2": FOLDED,
    "third = 3": FOLDED,
    "shows": FOLDED,
    "fourth = 4": FOLDED,
    "open_ = 5": (),
    "other = 6": (*FOLDED, "other"),
    "sixth = 7": FOLDED,
    "": (),
    "last = 8": FOLDED,
}
SHOWS = "shows"


def name(source: str) -> str:
    """The id that chapter 7 gives a cell."""
    return f"c-{source.split()[0].strip('_')}"


def folds_notebook() -> Any:
    """Chapter 7: folded cells next to each other, with and without something to show."""
    cells = [new_markdown_cell("# Training\n\n## A section")]
    for source, tags in CELLS.items():
        if not source:
            cells.append(new_markdown_cell("Some text."))
            continue
        outputs = [shown({"text/html": table(["a", "b"], ["1", "2"])})] if source == SHOWS else []
        cell = code(source, *outputs, tags=tags)
        cell["id"] = name(source)
        cells.append(cell)
    return new_notebook(cells=cells)


def write_run(folder: Path, book: Path) -> Path:
    """Write an executed notebook and a manifest for every chapter of ``book`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem in chapters(book):
        if (book / f"{stem}.md").exists():
            continue
        title = stem[3:].replace("_", " ").capitalize()
        if stem.startswith("01"):
            notebook = rich_notebook(title)
        elif stem.startswith("02"):
            notebook = hostile_notebook(title)
        elif stem.startswith("04"):
            notebook = tables_notebook()
        elif stem.startswith("05"):
            notebook = exercises_notebook()
        elif stem.startswith("07"):
            notebook = folds_notebook()
        else:
            notebook = new_notebook(cells=[new_markdown_cell(f"# {title}\n\nText.")])
        nbformat.write(notebook, folder / f"{stem}.ipynb")
        manifest = {
            "profile": "smoke",
            "seconds": 12.3,
            "calls_added": 1234,
            "start": "2026-11-22T00:00:00+00:00",
            "end": "2026-11-22T00:00:12+00:00",
            "hardware": "2 CPU cores, 24 GB",
            "versions": {"python": "3.11.7", "torch": "2.13.0+cpu"},
        }
        (folder / f"{stem}.json").write_text(json.dumps(manifest))
    return folder
