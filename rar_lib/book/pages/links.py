"""Links from a chapter to where it can be opened without a checkout: Colab or Binder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rar_lib.book.profiles import load as load_profile
from rar_lib.book.prose import listed, plain
from rar_lib.core.errors import ReproduceError
from rar_lib.models.vllm_args import overhead_gb

#: Owner and name as GitHub allows them; neither can end an address, a command or an attribute.
_GITHUB = re.compile(
    r"https://github\.com/((?!-)[A-Za-z0-9-]{1,39}(?<!-)/(?![-.])[A-Za-z0-9._-]{1,100}(?<!\.git))"
)
#: The profile that a notebook's first cell names until somebody changes it.
OPENED = "smoke"
#: GB of memory that mybinder.org gives, always and at most; above that the kernel is restarted
#: (mybinder.readthedocs.io, "Usage guidelines", "How much memory am I given when using Binder?").
#: Colab names no number: its resources are "not guaranteed" (research.google.com/colaboratory/faq).
BINDER_GB = (1, 2)
#: GB of the one GPU that profile gpu is written for (profiles.toml).
GPU_GB = 80
#: The line of :mod:`rar_reader` that the links stand under.
SOURCE_PLACE = re.compile(r'<p class="rar-source">.*?</p>', re.S)
UNTRIED = "This project has not run it there."


def repository(book: Path) -> str | None:
    """``owner/name`` of the public repository on GitHub; ``None`` where the book names none.

    Args:
        book: the book's sources; ``repository.url`` of its ``_config.yml`` is read.

    Raises:
        ReproduceError: the setting is not the https address of a repository on GitHub.
    """
    import yaml

    known = yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8"))
    url = (known.get("repository") or {}).get("url")
    if url in (None, ""):
        return None
    found = _GITHUB.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        raise ReproduceError(
            f"book/_config.yml: repository.url is {str(url)[:80]!r}, which is not the address of a "
            'repository on GitHub. Write "https://github.com/OWNER/NAME", without a slash or .git '
            'at its end; or "" for no links to Colab and Binder'
        )
    return found[1]


def elsewhere(
    known: Mapping[str, Mapping[str, Any]], where: str, times: Mapping[str, Any] | None
) -> dict[str, str]:
    """What each chapter says of Colab and Binder, as HTML: page -> two links and what runs there.

    Args:
        known: chapter -> ``rar`` of its notebook's metadata.
        where: ``owner/name`` of the repository.
        times: the record of that name, for the memory of profile laptop; ``None`` if there is none.
    """
    return {
        f"{stem}.html": (
            '<ul class="rar-source">\n'
            f"<li>{_on_colab(stem, known, where, times)}</li>\n"
            f"<li>{_on_binder(stem, known, where)}</li>\n</ul>"
        )
        for stem in known
    }


def _on_colab(
    stem: str, known: Mapping[str, Any], where: str, times: Mapping[str, Any] | None
) -> str:
    name = where.partition("/")[2]
    # The lock is complete, and pip would fetch packages that it leaves out: see environment.yml.
    command = (
        f"!git clone --depth 1 https://github.com/{where} && pip install --no-deps "
        f"-r {name}/env/torch-cpu.txt -r {name}/env/laptop.txt -e ./{name}"
    )
    read = _before(stem, known)
    first = plain(" It reads files of {which}: run them first.", which=_numbers(read))
    rows = (times or {}).get("reproduce", {}).values()
    measured = [row["memory_gb"] for row in rows if row.get("memory_gb")]
    said = plain(
        "Profile {profile}, which the notebook names, is meant for the CPU there; profile laptop "
        "takes {laptop} of memory and profile gpu a GPU of {gpu} GB, and Colab promises neither. "
        "{untried}",
        profile=OPENED,
        laptop=f"{max(measured):.1f} GB" if measured else "an unknown amount",
        gpu=GPU_GB,
        untried=UNTRIED,
    )
    return (
        f'<a href="https://colab.research.google.com/github/{where}/blob/HEAD/notebooks/{stem}'
        '.ipynb">Open this notebook in Colab</a>, run this in a new first cell and restart the '
        f"session: <code>{escape(command)}</code>.{escape(first) if read else ''} {escape(said)}"
    )


def _on_binder(stem: str, known: Mapping[str, Any], where: str) -> str:
    # What a server holds beside its weights, which are left out: they differ by processor.
    server = load_profile(OPENED).server["kv_cache_gb"] + overhead_gb(0.0, float32=False)
    judged = [name for name in _before(stem, known) if _asks(known[name])]
    if _asks(known[stem]):
        runs = plain(
            "the server of the smallest judge takes at least {server:.1f} GB besides its weights, "
            "so no judge fits, and the cells run up to the first question to one",
            server=server,
        )
    elif judged:
        runs = plain(
            "this chapter asks no model, but the files of {which} that it reads are made with a "
            "judge, whose server takes at least {server:.1f} GB besides its weights and does not "
            "fit",
            which=_numbers(judged),
            server=server,
        )
    else:
        runs = "this chapter asks no model, so all of its cells are meant to run"
    low, high = BINDER_GB
    said = plain(
        "builds the environment of the checkout and gives {low} to {high} GB of memory: {runs}. "
        "{untried}",
        low=low,
        high=high,
        runs=runs,
        untried=UNTRIED,
    )
    return (
        f'<a href="https://mybinder.org/v2/gh/{where}/HEAD?urlpath=lab/tree/notebooks/{stem}'
        f'.ipynb">Open this notebook in Binder</a>, which {escape(said)}'
    )


def _asks(rar: Mapping[str, Any]) -> bool:
    return rar.get("asks") is not False


def _before(stem: str, known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The chapters whose files a chapter reads, and those whose files these read, in order."""
    found: set[str] = set()
    todo = list(known[stem].get("after", []))
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += known[name].get("after", [])
    return sorted(found)


def _numbers(stems: Sequence[str]) -> str:
    word = "chapter" if len(stems) == 1 else "chapters"
    return f"{word} {listed([str(int(stem[:2])) for stem in stems])}"


def lead(html: Path, made: Mapping[str, str]) -> None:
    """Put the links of :func:`elsewhere` into their pages.

    Raises:
        ReproduceError: a page has no place for them, or several.
    """
    for name, links in made.items():
        page = html / name
        text = page.read_text(encoding="utf-8")
        places = SOURCE_PLACE.findall(text)
        if len(places) != 1:
            raise ReproduceError(
                f"{name} has {len(places)} lines of class rar-source, one is needed: the links to "
                "Colab and Binder stand under it"
            )
        page.write_text(text.replace(places[0], f"{places[0]}\n{links}"), encoding="utf-8")
