"""The book's prose pages: they say what the models are, and what records hold."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rar_lib.core.decision import WORDS
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.models.catalogue import MODELS, Model
from results.alignment.run import ARMS as JUDGED
from results.alignment.run import JUDGES
from results.attacks import ARMS as ATTACKED
from results.attacks import CONDITIONS, MODELS_MEASURED
from results.rubrics.write import SOURCES

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "book").glob("*.md"))


def page(name: str) -> str:
    text = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
    return " ".join(text.split())


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_the_glossary_says_whose_weights_these_are(model: Model) -> None:
    """A judge called qwen is a model for code, from a file of 4 bits."""
    entry = page("glossary").split(" Weights ", 1)[1]
    upstream = model.upstream.split("/")[1]
    assert upstream in entry
    kind = re.search(r"q4_\w+?(?=\.gguf)", model.pinned.file, re.IGNORECASE)
    assert kind is not None
    assert kind[0].lower() in entry.lower()
    assert "4 bits" in entry


def test_the_landing_page_says_it_once_and_plainly() -> None:
    text = page("index")
    assert all(word in text for word in ("*Coder*", "4-bit", "widened", "8 bits"))


def test_every_word_of_a_finding_is_explained() -> None:
    for name in ("glossary", "conventions"):
        text = page(name).lower()
        assert [word for word in WORDS if f"*{word}*" not in text] == []


# --- no text says more than its record holds


def read(root: Path, name: str) -> dict[str, Any]:
    """A record; empty where there is none."""
    path = root / "results" / name
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def study_holds(root: Path) -> dict[str, bool]:
    """What of the study is whole: its declared arms, seeds, halves, tasks and units."""
    design = read(root, "study/design.json")
    runs = read(root, "study/arms.json").get("runs", [])
    there = {path.stem for path in (root / "results" / "study" / "units").glob("*.jsonl")}
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run["arm"], set()).add(run["seed"])
    slugs = [f"{run['arm'].replace(',', '').replace(' ', '-')}-fold" for run in runs]
    halves = [
        f"{slug}{fold}-seed{run['seed']}"
        for slug, run in zip(slugs, runs, strict=True)
        for fold in (0, 1)
    ]
    first = [arm["name"] for arm in design["arms"] if arm["tier"] == 1]
    trials = read(root, "study/pilot.json").get("trials", [])
    whole = bool(runs) and set(halves) <= there
    return {
        "arms": {arm["name"] for arm in design["arms"]} <= set(seeds),
        "arms of tier one": set(first) <= set(seeds),
        "seeds": bool(seeds) and all(set(design["seeds"]) <= found for found in seeds.values()),
        "halves": whole,
        "tasks": whole and sum(design["tasks"]["held out"]) == len(load_mini("all")),
        "units": {name for names in design["units"].values() for name in names} <= there,
        "trials": len(trials) == len(design["pilot"]["trials"]),
    }


def judges_hold(root: Path) -> dict[str, bool]:
    """What of the comparison of judges is whole, under the authored rubrics."""
    rows = read(root, "alignment/alignment.json").get("judges", {})
    folder = root / "results" / "alignment"
    files = [folder / f"{judge}-{arm}.jsonl" for judge in JUDGES for arm in JUDGED]
    pairs = len(load_mini_pairs("test"))
    lines = [len(path.read_text("utf-8").splitlines()) for path in files if path.is_file()]
    arms = [set(JUDGED) <= set(row["arms"]) for row in rows.values()]
    return {
        "judges": set(JUDGES) <= set(rows),
        "arms": bool(arms) and all(arms),
        # A head, and a line a pair.
        "pairs": len(lines) == len(files) and set(lines) == {pairs + 1},
        "tasks": len(lines) == len(files) and set(lines) == {pairs + 1},
    }


def attacks_hold(root: Path) -> bool:
    """Whether every judge was attacked in every arm under every condition."""
    wanted = len(MODELS_MEASURED) * len(CONDITIONS) * len(ATTACKED)
    return len(read(root, "attacks.json").get("judges", {})) >= wanted


def rubrics_hold(root: Path) -> bool:
    """Whether a model has written both kinds of rubrics for every task."""
    files = [root / "results" / "rubrics" / f"{source}.jsonl" for source in SOURCES]
    lines = [len(path.read_text("utf-8").splitlines()) for path in files if path.is_file()]
    return len(lines) == len(files) and min(lines) >= len(load_mini("all"))


@cache
def whole(root: Path = ROOT) -> dict[str, bool]:
    """Record and what it has several of -> whether they are all there."""
    attacked = attacks_hold(root)
    attacks = dict.fromkeys(("attacks", "arms", "judges", "pairs", "tasks"), attacked)
    written = dict.fromkeys(("tasks", "judges", "rubrics"), rubrics_hold(root))
    records = {
        "study": study_holds(root),
        "judges": judges_hold(root),
        "attacks": attacks,
        "rubrics": written,
    }
    return {f"{name}: {of}": held for name, row in records.items() for of, held in row.items()}


#: What a record can have all of, as texts name it. *Each* says how, not how many.
NOUNS = {
    "arms of tier one": r"arms? of (?:the first tier|tier 1)",
    "arms": r"arms?(?! of (?:the first tier|tier 1))",
    "seeds": r"seeds?",
    "halves": r"(?:folds?|half|halves)",
    "units": r"units?",
    "trials": r"trials?",
    "judges": r"judges?",
    "pairs": r"pairs?",
    "tasks": r"(?:(?:test|held-out|graded) tasks?|task of RaR-Mini|tasks of RaR-Mini)",
    "attacks": r"(?:attacks?|defences?|conditions?)",
    "rubrics": r"synthetic rubrics?",
}
#: How many there are, as a text would give the number of all.
NUMBERS = {"seeds": "three|3", "judges": "three", "halves": "both|two", "arms": "eighteen|18"}
#: Of which record a text speaks; another one speaks of any.
SPEAKS_OF = {
    "book/study.md": "study",
    "notebooks/07": "study",
    "notebooks/08": "study",
    "results/study/": "study",
    "notebooks/01": "judges",
    "notebooks/02": "judges",
    "notebooks/04": "judges",
    "notebooks/05": "judges",
    "notebooks/06": "judges",
    "results/alignment/": "judges",
    "results/attacks": "attacks",
    "results/rubrics/": "rubrics",
}
#: A sentence with one of these says what is wanted, asked or left, or under which condition.
PROMISE = re.compile(
    r"\b(declared|made to|is to|are to|to be|until|once (?!with)|unless|if|when|could|would|should|"
    r"must|takes?|needs?|at least|fewer than|complete|none yet|none since|so far|missing)\b",
    re.IGNORECASE,
)
#: Sentences that are about something else than what a record holds, and why.
ABOUT_ELSE = {
    "two folds of three seeds give four degrees": "how a test counts, whatever is recorded",
    "three seeds with a training of their own in each of two folds": "a simulation",
    "the study's own case, two folds of three seeds": "a simulation",
    "all seeds of tier 1 come before any of tier 2": "an order",
    "the same questions to the judge in every arm": "what the code asks",
    "Each of them, and all attacks together, is set against": "what a chapter's own cells measure",
}


def claimed(sentence: str) -> list[str]:
    """What a sentence says that there is all of."""
    found = []
    for of, noun in NOUNS.items():
        number = f"|{NUMBERS[of]}" if of in NUMBERS else ""
        many = rf"\b(?:all|every{number})\b(?: of)?(?: the| its)?(?: \d+)?"
        if re.search(rf"{many}(?: (?:recorded|declared|single|test))* {noun}\b", sentence, re.I):
            found.append(of)
    return found


def overclaims(name: str, text: str, held: Mapping[str, bool]) -> list[str]:
    """Sentences that say of something that all of it is there, where it is not.

    Args:
        name: of the file, which says what the text speaks of.
        held: as :func:`whole` gives it.
    """
    topics = {topic for start, topic in SPEAKS_OF.items() if name.startswith(start)}
    found = []
    for sentence in sentences(text):
        about = topics or {key.partition(":")[0] for key in held}
        about = {"rubrics"} if re.search(r"\bsynthetic\b", sentence) else about
        about = {"attacks"} if re.search(r"\b(attack|defence)", sentence) else about
        whole_of = itertools.product(about, claimed(sentence))
        lacking = not all(held.get(f"{topic}: {of}", True) for topic, of in whole_of)
        besides = any(words in sentence for words in ABOUT_ELSE)
        if lacking and not besides and not PROMISE.search(sentence):
            found.append(sentence)
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text; a row of a table and a heading are one."""
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |[|#]))|(?<=\|)\n", text)
    parts = [re.split(r"(?<=[.!?])\s+(?![a-z])", " ".join(block.split())) for block in blocks]
    rows = [block.lstrip().startswith("|") for block in blocks]
    kept = [[" ".join(part)] if row else part for part, row in zip(parts, rows, strict=True)]
    return [one for part in kept for one in part if one]


def texts(path: Path) -> str:
    """What a file says to a reader: a chapter's Markdown, a script's docstrings and texts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
    if path.suffix == ".py":
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        return "\n\n".join(str(node.value) for node in nodes if " " in str(node.value))
    return text


#: Scripts without a record say what they would do, and the overview of ``results/`` says so.
WITHOUT = re.findall(
    r"^\| [^|]*\bnone (?:yet|since)[^|]*\| `([\w/]+\.py)`",
    (ROOT / "results" / "README.md").read_text(encoding="utf-8"),
    re.M,
)
SCRIPTS = [
    path
    for path in sorted((ROOT / "results").rglob("*.py"))
    if path.relative_to(ROOT / "results").as_posix() not in WITHOUT
]
SAYING = [
    *PAGES,
    ROOT / "README.md",
    ROOT / "results" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *SCRIPTS,
]


@pytest.mark.parametrize("path", SAYING, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_text_says_that_a_record_holds_more_than_it_does(path: Path) -> None:
    assert overclaims(path.relative_to(ROOT).as_posix(), texts(path), whole()) == []


#: A sentence that says more than a record of which something lacks, and where it could stand.
FALSE = (
    ("README.md", "`results/study/run.py` trains and grades all arms."),
    ("book/index.md", "The study has every arm, with three seeds."),
    ("book/index.md", "What is recorded covers all 18 arms."),
    ("CHANGELOG.md", "Three seeds of it are on record."),
    ("results/README.md", "| `study/arms.json` | `study/run.py` | all arms, over both halves | |"),
    ("results/study/table.py", "The findings are those of all seeds."),
    ("results/study/run.py", "Every unit is trained and graded."),
    ("notebooks/07_training.ipynb", "## One question, answered by every arm"),
    ("notebooks/04_judges.ipynb", "It has all 92 pairs, by three judges."),
    ("notebooks/10_claims.ipynb", "All attacks were met by all judges."),
    ("notebooks/09_gaming.ipynb", "`results/attacks.py` attacks three judges behind it."),
    ("results/alignment/run.py", "They have synthetic rubrics of all judges."),
    ("notebooks/08_evaluation.ipynb", "The tasks of both folds have their answers."),
)


@pytest.mark.parametrize(("name", "sentence"), FALSE)
def test_a_sentence_that_says_more_is_found_where_something_lacks(name: str, sentence: str) -> None:
    lacking = dict.fromkeys(whole(), False)
    around = f"The first sentence says little.\n{sentence} The last one says nothing.\n"
    planted = sentence if sentence[0] in "|#" else around
    assert overclaims(name, f"Before it.\n\n{planted}", lacking) == [sentence]
    assert overclaims(name, planted, dict.fromkeys(lacking, True)) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "All arms are declared before the first is trained.",
        "Until all seeds are there, nothing is decided.",
        "It takes at least three seeds on one machine.",
        "Each arm belongs to a tier.",
        "Made to grade every test pair, by three judges.",
        "The arms that are recorded, with their seeds.",
    ],
)
def test_a_sentence_that_says_what_is_wanted_or_how_is_none(sentence: str) -> None:
    assert overclaims("README.md", sentence, dict.fromkeys(whole(), False)) == []


def test_a_planted_sentence_is_found_in_a_notebook_a_script_and_a_page(tmp_path: Path) -> None:
    false = "The record holds all arms and three seeds."
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\nIt is short. {false}\n")
    script = tmp_path / "script.py"
    script.write_text(f'"""A script.\n\n{false}\n"""\nprint("Done. {false}")\n')
    chapter = tmp_path / "chapter.ipynb"
    code = {"cell_type": "code", "source": ["all_arms = 1"]}
    markdown = {"cell_type": "markdown", "source": ["## A part\n", "\n", false]}
    chapter.write_text(json.dumps({"cells": [code, markdown]}))
    lacking = dict.fromkeys(whole(), False)
    found = [overclaims(path.name, texts(path), lacking) for path in (page, script, chapter)]
    assert found == [[false], [false, false], [false]]


def test_what_is_about_something_else_still_stands_there() -> None:
    every = " ".join(" ".join(texts(path).split()) for path in SAYING)
    assert [words for words in ABOUT_ELSE if words not in every] == []


def test_what_is_whole_is_read_from_the_records(tmp_path: Path) -> None:
    """Two arms of two seeds: what lacks is false, and only that."""
    study = tmp_path / "results" / "study"
    (study / "units").mkdir(parents=True)
    runs = [{"arm": arm, "seed": seed} for arm in ("base", "rule, new") for seed in (0, 1)]
    slugs = [f"{slug}-fold{fold}" for slug in ("base", "rule-new") for fold in (0, 1)]
    units = [f"{slug}-seed{seed}" for slug in slugs for seed in (0, 1)]
    for name in units:
        (study / "units" / f"{name}.jsonl").write_text("{}")
    design = {
        "arms": [{"name": "base", "tier": 1}, {"name": "rule, new", "tier": 2}],
        "seeds": [0, 1],
        "units": {"1": units[:4], "2": units[4:]},
        "tasks": {"held out": [80, 80]},
        "pilot": {"trials": [{}]},
    }
    (study / "design.json").write_text(json.dumps(design))
    (study / "pilot.json").write_text(json.dumps({"trials": [{}]}))

    def held(recorded: list[dict[str, Any]]) -> set[str]:
        (study / "arms.json").write_text(json.dumps({"runs": recorded}))
        return {name for name, there in study_holds(tmp_path).items() if not there}

    assert held(runs) == set()
    assert held(runs[:3]) == {"seeds"}
    assert held(runs[:2]) == {"arms"}
    assert held(runs[2:]) == {"arms", "arms of tier one"}
    (study / "units" / "rule-new-fold1-seed1.jsonl").unlink()
    assert held(runs) == {"halves", "tasks", "units"}
    assert not any(judges_hold(tmp_path).values())
    assert not attacks_hold(tmp_path)
    assert not rubrics_hold(tmp_path)


#: The entries of the glossary: term -> definition.
ENTRIES = {
    found[1]: " ".join(found[2].split())
    for found in re.finditer(
        r"^(\S.*)\n((?:  \S.*\n)+)",
        (ROOT / "book" / "glossary.md").read_text(encoding="utf-8"),
        re.M,
    )
}
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: Words that a chapter or a page uses before it explains them, if it does.
USED = (
    *("adapter", "authored rubric", "axis", "balanced accuracy", "bootstrap", "calibration error"),
    *("chat template", "contrast weights", "conveyed", "demonstration", "difficulty", "endpoint"),
    *("gold label", "GPQA-Diamond", "hard verdict", "HealthBench", "KL", "leakage", "ledger"),
    *("Likert", "MedQA", "MMLU", "p-value", "pairwise accuracy", "predefined", "preference pair"),
    *("prefix", "probability reading", "profile", "RaR-Medicine", "RaR-Mini", "RaR-Science"),
    *("rubric dropout", "self-internalisation gap", "sign flips", "simulated coverage", "split"),
    *("stratified draw", "synthetic rubric", "temperature", "TF-IDF", "true null"),
    *("two-way analysis of variance", "Unsloth", "vLLM"),
    *("clip", "cloze", "fold", "log-likelihood", "pilot", "standard error", "tier"),
)


def prose(path: Path) -> str:
    """What a page says; of a chapter all its cells, because code says sentences, too."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return " ".join(text.split())


@pytest.mark.parametrize("word", USED)
def test_the_glossary_explains_what_is_used_before_it_is_explained(word: str) -> None:
    entry = {term.lower(): said for term, said in ENTRIES.items()}[word.lower()]
    assert len(re.findall(r"\.(?: |$)", entry)) in (1, 2), "one or two sentences"
    others = [path for path in (*PAGES, *CHAPTERS) if path.stem != "glossary"]
    assert any(word.lower() in prose(path).lower() for path in others)


@pytest.mark.parametrize("path", [*PAGES, *CHAPTERS], ids=lambda p: p.stem)
def test_a_term_that_a_page_marks_is_in_the_glossary(path: Path) -> None:
    marked = re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", prose(path))
    assert [term for term in marked if term not in ENTRIES] == []
