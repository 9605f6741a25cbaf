"""The whole book as one EPUB and as one PDF: complete, in order, and nothing in them can act."""

from __future__ import annotations

import os
import re
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from browser import too_wide, watch
from bs4 import BeautifulSoup
from typer.testing import CliRunner

from rar_lib.book.pages import build as book_build
from rar_lib.book.pages.build import chapters, write_epub, write_pdf
from rar_lib.book.pages.editions import CHROMIUM, print_page
from rar_lib.cli.app import app
from rar_lib.core.errors import ReproduceError

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
ORDER = ["index", *chapters(BOOK)]
XHTML = "{http://www.w3.org/1999/xhtml}"
OPF = "{http://www.idpf.org/2007/opf}"
SCRIPT = "<script>window.pwned = 1</script>"


def title_of(html: Path, stem: str) -> str:
    page = BeautifulSoup((html / f"{stem}.html").read_text(encoding="utf-8"), "html.parser")
    heading = page.select_one("article h1")
    for link in heading.select(".headerlink"):
        link.decompose()
    return " ".join(heading.get_text().split())


# --- EPUB


@pytest.fixture(scope="module")
def epub(run: Path, html: Path) -> Path:
    return write_epub(run, BOOK, html.parent, repo=REPO)


@pytest.fixture(scope="module")
def parts(epub: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(epub) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_epub_begins_with_its_type_in_plain_bytes(epub: Path) -> None:
    with zipfile.ZipFile(epub) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert archive.read(first) == b"application/epub+zip"
    assert epub.read_bytes()[30:58] == b"mimetypeapplication/epub+zip"


def test_an_epub_lists_every_part_and_holds_every_part_it_lists(parts: dict[str, bytes]) -> None:
    package = ElementTree.fromstring(parts["content.opf"])
    listed = [item.attrib for item in package.iter(f"{OPF}item")]
    names = [item["href"] for item in listed]
    assert len(names) == len(set(names))
    assert {*names, "mimetype", "content.opf", "META-INF/container.xml"} == set(parts)
    for item in listed:
        if item["href"].endswith(".xhtml"):
            mathematical = b"<math" in parts[item["href"]]
            assert ("mathml" in item.get("properties", "")) == mathematical, item
    styles = b"".join(data for name, data in parts.items() if name.endswith(".css"))
    used = set(re.findall(rb"url\([\"']?(?!data:)([^\"')]+)", styles))
    assert {f"_static/{name.decode()}" for name in used} <= set(parts)


def test_every_chapter_is_in_the_epub_in_its_order(parts: dict[str, bytes], html: Path) -> None:
    for stem in ORDER:
        page = ElementTree.fromstring(parts[f"{stem}.xhtml"])
        heading = next(page.iter(f"{XHTML}h1"))
        assert title_of(html, stem) in " ".join("".join(heading.itertext()).split())
    contents = ElementTree.fromstring(parts["nav.xhtml"])
    pages = [a.attrib["href"].partition("#") for a in contents.iter(f"{XHTML}a")]
    assert [page for page, _, anchor in pages if not anchor] == [f"{s}.xhtml" for s in ORDER]


def test_an_epub_says_what_it_is(parts: dict[str, bytes]) -> None:
    said = parts["content.opf"].decode("utf-8")
    assert "<dc:title>Rubrics as Rewards, executable</dc:title>" in said
    assert "<dc:language>en</dc:language>" in said
    assert "not set" not in said
    assert "unknown" not in said


def test_nothing_in_an_epub_can_act_or_comes_from_elsewhere(parts: dict[str, bytes]) -> None:
    for name, data in parts.items():
        if not name.endswith(".xhtml"):
            assert not name.endswith((".js", ".html"))
            continue
        page = ElementTree.fromstring(data)
        for element in page.iter():
            tag = element.tag.rpartition("}")[2]
            assert tag not in {"script", "iframe", "object", "embed", "form", "svg", "select"}
            for key, value in element.attrib.items():
                assert not key.lower().startswith("on"), (name, tag, key)
                assert not value.strip().lower().startswith(("javascript:", "data:text")), name
                if key == "src":
                    assert not value.startswith(("http", "//")), (name, value)


def test_an_epub_holds_what_the_book_computes_for_its_pages(parts: dict[str, bytes]) -> None:
    first = parts["index.xhtml"].decode("utf-8")
    assert "The ledger</strong> has" in first
    drawn = re.search(r'<img[^>]* src="([^"]*claims\.svg)"', first)
    assert drawn is not None
    assert drawn[1] in parts
    assert "the training study has recorded" in parts["after.xhtml"].decode("utf-8").lower()


def test_hostile_text_is_text_in_an_epub(parts: dict[str, bytes]) -> None:
    page = ElementTree.fromstring(parts["02_writing_rubrics.xhtml"])
    assert "".join(page.itertext()).count(SCRIPT) == 3
    rollouts = ElementTree.fromstring(parts["rollouts.xhtml"])
    assert "window.pwned = 1" in "".join(rollouts.itertext())
    assert next(rollouts.iter(f"{XHTML}table")) is not None


def ids_of(page: bytes) -> set[str]:
    found = ElementTree.fromstring(page).iter()
    return {element.attrib["id"] for element in found if "id" in element.attrib}


def test_links_in_an_epub_lead_to_its_own_pages(parts: dict[str, bytes]) -> None:
    ids = {name: ids_of(data) for name, data in parts.items() if name.endswith(".xhtml")}
    for name in ids:
        for link in ElementTree.fromstring(parts[name]).iter(f"{XHTML}a"):
            target = link.attrib.get("href", "")
            if not target or re.match(r"https?:", target):
                continue
            page, _, anchor = target.partition("#")
            assert (page or name) in ids, (name, target)
            assert not anchor or anchor in ids[page or name], (name, target)


def test_an_unchanged_epub_is_not_made_again(run: Path, epub: Path) -> None:
    before = epub.stat().st_mtime_ns
    assert write_epub(run, BOOK, epub.parent, repo=REPO) == epub
    assert epub.stat().st_mtime_ns == before


# --- the page that is printed


@pytest.fixture(scope="module")
def printed(html: Path) -> Any:
    return BeautifulSoup(print_page(html, ORDER), "html.parser")


def test_the_printed_page_holds_every_page_in_its_order(printed: Any, html: Path) -> None:
    said = [" ".join(h.get_text().split()) for h in printed.select("section.chapter h1")]
    assert said == [title_of(html, stem) for stem in ORDER]
    listed = [a["href"] for a in printed.select("nav a")]
    assert listed == [f"#{stem}" for stem in ORDER[1:]]


def test_links_of_the_printed_page_lead_within_it_or_to_the_web(printed: Any) -> None:
    ids = [element["id"] for element in printed.find_all(id=True)]
    assert len(ids) == len(set(ids))
    for link in printed.find_all("a", href=True):
        target = link["href"]
        assert target.startswith("http") or target[1:] in ids, target
    for image in printed.find_all("img"):
        assert Path(image["src"].removeprefix("file://")).is_file()
        assert image["alt"]


def test_what_only_works_on_a_screen_is_not_printed(printed: Any) -> None:
    assert not printed.select("script, button, select, .headerlink, .rar-tip, .above-input")
    assert all(details.has_attr("open") for details in printed.find_all("details"))
    policy = printed.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'; ")
    assert "script" not in policy
    assert SCRIPT in printed.find(id="02_writing_rubrics").get_text()


def test_a_table_of_many_columns_is_printed_row_by_row(printed: Any) -> None:
    chapter = printed.find(id="04_can_the_judge_be_trusted")
    grading, steps, _ = chapter.find_all("table")
    assert "rar-rows" not in grading["class"]
    assert "rar-rows" in steps["class"]
    assert steps.find("td")["data-label"] == "column 0"


def test_nothing_is_wider_than_the_paper(chrome: Any, html: Path, tmp_path: Path) -> None:
    (tmp_path / "book.html").write_text(print_page(html, ORDER), encoding="utf-8")
    page = chrome.new_page()
    problems = watch(page)
    page.emulate_media(media="print")
    page.goto((tmp_path / "book.html").as_uri())
    assert too_wide(page, 658) is None  # 174 mm at 96 px an inch
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert problems == []


# --- PDF


def titles(pdf: bytes) -> list[str]:
    """The bookmarks of a PDF as Chromium writes it."""
    found = []
    for plain, coded in re.findall(
        rb"/Title (?:\((.*?)(?<!\\)\)|<([0-9A-Fa-f]+)>)", pdf, re.DOTALL
    ):
        data = re.sub(rb"\\(.)", rb"\1", plain) if plain else bytes.fromhex(coded.decode())
        said = data[2:].decode("utf-16-be") if data.startswith(b"\xfe\xff") else data.decode()
        found.append(" ".join(said.split()))
    return found


def test_a_pdf_has_every_chapter_and_a_bookmark_for_each(chrome: Any, html: Path) -> None:
    path = write_pdf(BOOK, html.parent)
    data = path.read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    # A title, the contents and at least a page for each.
    assert len(re.findall(rb"/Type /Page\b", data)) >= 2 + len(ORDER)
    bookmarks = titles(data)
    for stem in ORDER:
        assert title_of(html, stem) in bookmarks
    assert not (html.parent / "print").exists()
    before = path.stat().st_mtime_ns
    assert write_pdf(BOOK, html.parent) == path
    assert path.stat().st_mtime_ns == before


def program(folder: Path, code: str) -> None:
    """A Chromium that runs ``code`` with ``out``, where the PDF goes, and ``args``."""
    folder.mkdir()
    path = folder / CHROMIUM[0]
    path.write_text(
        f"#!{sys.executable}\nimport sys\nargs = sys.argv[1:]\n"
        "out = next(a for a in args if a.startswith('--print-to-pdf='))[15:]\n" + code
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def shelf(tmp_path: Path, html: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with built pages in which only programs of ``tmp_path/bin`` can be found."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "html").symlink_to(html)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return out


def test_without_chromium_it_says_what_is_missing(shelf: Path) -> None:
    with pytest.raises(ReproduceError, match=r"chromium.*apt-get install chromium.*EPUB"):
        write_pdf(BOOK, shelf)
    assert not list(shelf.glob("*.pdf"))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("print('no display', file=sys.stderr)\nsys.exit(3)\n", 3),
        ("print('no display', file=sys.stderr)\n", 0),
        ("print('no display', file=sys.stderr)\nopen(out, 'w').write('<html>')\n", 0),
    ],
)
def test_a_chromium_that_fails_is_quoted_and_the_old_pdf_stays(
    shelf: Path, code: str, status: int
) -> None:
    old = shelf / "rubrics-as-rewards.pdf"
    old.write_bytes(b"%PDF old")
    program(shelf.parent / "bin", code)
    with pytest.raises(ReproduceError, match=rf"exit status {status}\):\nno display"):
        write_pdf(BOOK, shelf)
    assert old.read_bytes() == b"%PDF old"


def test_chromium_gets_a_profile_of_its_own_and_no_more_rights_than_it_needs(shelf: Path) -> None:
    program(shelf.parent / "bin", "open(out, 'w').write('%PDF ' + ' '.join(args))\n")
    said = write_pdf(BOOK, shelf).read_text()
    assert f"--user-data-dir={shelf.resolve()}/print/profile" in said
    assert "--no-pdf-header-footer" in said
    assert ("--no-sandbox" in said) == (os.geteuid() == 0)
    assert "--allow" not in said
    assert said.endswith("/print/book.html")


# --- the command


def test_the_command_makes_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "x"
    made.write_bytes(b"x" * 1_200_000)
    asked = []

    def making(name: str) -> Any:
        return lambda *args, **named: asked.append(name) or made

    for name in ("build", "write_epub", "write_pdf"):
        monkeypatch.setattr(book_build, name, making(name))
    told = CliRunner().invoke(app, ["book", "--profile", "smoke"])
    assert (told.exit_code, asked) == (0, ["build"])
    asked.clear()
    told = CliRunner().invoke(app, ["book", "--profile", "smoke", "--pdf", "--epub"])
    assert (told.exit_code, asked) == (0, ["build", "write_epub", "write_pdf"])
    assert "EPUB: " in told.output
    assert "PDF: " in told.output
    assert "(1.2 MB)" in told.output


def test_the_claims_bar_has_the_colours_of_the_site_in_print() -> None:
    site = (BOOK / "_static" / "rar.css").read_text(encoding="utf-8")
    printed = (REPO / "rar_lib" / "book" / "print.css").read_text(encoding="utf-8")
    light = site[: site.index("--rar-part-1: #4ade80")]
    wanted = dict(re.findall(r"--rar-part-(\d): (#\w+);", light))
    assert len(wanted) == 8
    assert dict(re.findall(r"\.rar-part-(\d) \{ fill: (#\w+); \}", printed)) == wanted


STYLES = [BOOK / "_static" / "rar.css", *(REPO / "rar_lib" / "book").glob("*.css")]


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_every_own_class_that_has_a_style_is_used_somewhere(path: Path) -> None:
    style = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
    selectors = re.sub(r"\{[^{}]*\}", "{}", style)
    named = set(re.findall(r"\.(rar-[\w-]+)", selectors))
    makers = [*REPO.glob("rar_lib/**/*.py"), *REPO.glob("rar_lib/**/*.html")]
    makers += [*REPO.glob("rar_lib/**/*.js"), *BOOK.glob("*.md"), *BOOK.glob("_*/**/*.py")]
    makers += [*BOOK.glob("_*/**/*.js"), *BOOK.glob("_*/**/*.html")]
    made = "\n".join(file.read_text(encoding="utf-8") for file in makers)
    counted = {name for name in named if re.sub(r"\d+$", "", name) not in made}
    assert counted == set()
