"""The rollout browser: the right numbers, hostile text as text, by keyboard, in every window."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from browser import barriers, served, too_wide, watch
from bs4 import BeautifulSoup
from kept import as_json, five_arms, some_run, task, write_kept

from rar_lib.book.report import (
    browse_page,
    browsed,
    browsed_arms,
    browser_data,
    transcript_of,
    write_report,
)
from rar_lib.core.errors import DataError
from rar_lib.core.text import visible
from rar_lib.core.types import Task
from rar_lib.evaluation.grading import GradedCriterion, GradedResponse
from rar_lib.training.run import KEPT_GROUPS, TRANSCRIPT, Run

HOSTILE = "\n".join(
    [
        "<script>window.pwned = 1</script>",
        "</script><img src=x onerror='window.pwned = 1'>",
        "</p></div></article></main><h1>mine</h1><svg onload=window.pwned=1></svg>",
        "<a href='javascript:window.pwned=1'>x</a> [x](javascript:window.pwned=1)",
        "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x07",
        "```{raw} html\n<img src=x onerror='window.pwned = 1'>\n```",
        ":::{include} /etc/passwd\n:::",
        '"}]}</script><script>window.pwned = 1</script> <!-- <script> -->',
        "{{ 7 * 7 }} ${window.pwned = 1} \u2028 \u2029 &lt;b&gt; &amp;",
        "\u202eevil\u2066\u2069 a\u200bb a\ud800b",
    ]
)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return write_kept(tmp_path / "run")


def leaf(folder: Path, **more: Any) -> dict[str, Any]:
    return browsed(Run.load(folder / "run.json"), transcript_of(folder), (), **more)


def of_task(found: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = (task for task in found["tasks"] if task["id"] == name)
    return one


# --- what is shown


def test_a_held_out_task_has_its_answers_before_at_a_look_and_after(kept: Path) -> None:
    one = of_task(leaf(kept), "held-0")
    assert one["question"] == {"said": "Why?  (held-0)", "more": 0}
    assert one["reference"]["said"] == "It is less dense."
    assert [step["label"] for step in one["steps"]] == [
        "before training",
        "after step 2",
        "after step 4 (last)",
    ]
    texts = [step["answers"][0]["text"]["said"] for step in one["steps"]]
    assert texts == [
        "It floats, before, held-0.",
        "At step 2, held-0.",
        "It floats, after, held-0.",
    ]
    (middle,) = one["steps"][1]["answers"]
    assert [(r["by"], r["value"]) for r in middle["rewards"]] == [
        ("training: qwen, explicit", 0.5),
        ("hold-out: smol, implicit", 0.5),
    ]
    # The second grader gives a rating alone, so there is one table of criteria.
    assert [group["by"] for group in one["criteria"]] == ["training: qwen, explicit"]
    rows = one["criteria"][0]["rows"]
    assert [(r["text"], r["category"], r["against"]) for r in rows] == [
        ("Says that ice is less dense.", "Essential", False),
        ("Says that cold things float.", "Pitfall", True),
    ]
    seen = [step["answers"][0]["verdicts"][0][0] for step in one["steps"]]
    assert [(v["met"], v["p"]) for v in seen] == [(False, 0.0), (False, 0.5), (True, 1.0)]


def test_a_group_has_its_rollouts_with_the_advantages_that_the_trainer_gave(kept: Path) -> None:
    one = of_task(leaf(kept), "train-1")  # drawn by steps 1 and 3
    assert [step["label"] for step in one["steps"]] == ["step 1", "step 3"]
    moment = one["steps"][1]
    assert len(moment["answers"]) == 8
    third = moment["answers"][2]
    assert third["name"] == "rollout 3"
    assert third["text"]["said"] == "Rollout 3 of step 3."
    assert third["tokens"] == 13
    (reward,) = third["rewards"]
    assert (reward["by"], reward["value"], reward["advantage"]) == ("explicit by qwen", 0.3, -1.0)
    # Unscored is no 0: it has no value, and a reason.
    lost = moment["answers"][1]
    assert lost["rewards"][0]["value"] is None
    assert lost["rewards"][0]["reason"] == "endpoint busy"
    assert lost["verdicts"][0][0] == {"met": None, "p": None, "reason": "endpoint busy"}
    # Of 0.1, 0.3, 0.4, ..., 0.8: mean 3.4 / 7, deviation by hand.
    assert moment["summary"] == (
        "8 rollouts, mean reward 0.49, standard deviation 0.241, "
        "1 unscored, which got no advantage."
    )


def test_a_flat_group_is_called_one(tmp_path: Path) -> None:
    folder = write_kept(tmp_path)
    rows = as_json(folder)
    for row in rows:
        for rollout in row.get("groups", [{"rollouts": []}])[0]["rollouts"]:
            rollout |= {"score": 0.5, "advantage": 0.0}
    run = Run.load(folder / "run.json")
    one = of_task(browsed(run, rows, ()), "train-1")
    assert one["steps"][0]["summary"].endswith("a flat group: nothing was learnt from it.")


def test_responses_graded_in_several_ways_have_a_reward_and_an_advantage_of_each_arm() -> None:
    asked = Task.model_validate(task("t"))
    found = browsed_arms(five_arms(), [asked], "Chapter 6")
    (one,) = found["tasks"]
    first, second = one["steps"][0]["answers"]
    assert [(r["by"], r["value"]) for r in first["rewards"]] == [
        ("explicit", 0.75),
        ("implicit", 0.5),
    ]
    assert first["rewards"][0]["advantage"] == pytest.approx(0.7070, abs=1e-3)
    assert second["rewards"][0]["advantage"] == pytest.approx(-0.7070, abs=1e-3)
    assert [r["rewards"][1]["advantage"] for r in (first, second)] == [0.0, 0.0]
    assert [group["by"] for group in one["criteria"]] == ["explicit"]


def test_grades_of_the_held_out_answers_bring_their_criteria(kept: Path) -> None:
    seen = GradedCriterion(
        criterion="c-dense",
        title="D",
        description="Dense.",
        category="Essential",
        polarity="good",
        met=True,
        probability=0.9,
        reason=None,
    )
    row = GradedResponse(
        task="held-0",
        response="after",
        arm="explicit",
        score=0.9,
        share=1.0,
        reason=None,
        verdicts=(seen,),
        calls=1,
        prompt_tokens=1,
        cached_tokens=0,
        completion_tokens=1,
        seconds=1.0,
        money=None,
        judge="third",
        judge_weights="x",
        judge_wording="a",
        judge_prompt="y",
        reading="probability",
    )
    one = of_task(leaf(kept, grades=[row]), "held-0")
    assert [group["by"] for group in one["criteria"]][-1] == "third, explicit"
    last = one["steps"][-1]["answers"][0]
    assert (last["rewards"][-1]["by"], last["rewards"][-1]["value"]) == ("third, explicit", 0.9)
    assert last["verdicts"][-1][0]["p"] == 0.9
    assert one["steps"][0]["answers"][0]["verdicts"][-1] is None


def test_a_run_that_kept_nothing_says_so_and_shows_what_there_is(tmp_path: Path) -> None:
    some_run().save(tmp_path / "run.json")
    found = leaf(tmp_path)
    assert "did not keep its rollouts" in found["note"]
    assert {one["part"] for one in found["tasks"]} == {"held-out tasks"}
    one = of_task(found, "held-1")
    assert one["question"]["more"] is None
    assert [step["step"] for step in one["steps"]] == [0, 4]
    assert one["steps"][1]["answers"][0]["rewards"][0]["value"] == 0.75
    known = browsed(Run.load(tmp_path / "run.json"), [], [Task(id="held-1", question="Why?")])
    assert of_task(known, "held-1")["question"]["said"] == "Why?"
    imitates = replace(some_run(), steps=[], arm="sft_reference")
    assert "trained without a reward" in browsed(imitates, [], ())["note"]


def test_a_look_whose_answers_were_not_kept_has_its_scores_alone(kept: Path) -> None:
    rows = [row for row in as_json(kept) if row.get("look") != 0]
    run = Run.load(kept / "run.json")
    run.watched.insert(1, {"step": 3, "training": {"held-0": 0.5}, "hold-out": {"held-0": None}})
    moment = of_task(browsed(run, rows, ()), "held-0")["steps"][2]
    assert moment["label"] == "after step 3"
    (answer,) = moment["answers"]
    assert answer["text"]["more"] is None
    assert [r["value"] for r in answer["rewards"]] == [0.5, None]


def test_of_a_long_run_some_steps_are_shown_evenly_with_the_last_one(tmp_path: Path) -> None:
    folder = write_kept(tmp_path, some_run(steps=400), rollouts=8)
    found = leaf(folder)
    assert "Of 400 steps, one in 3 is on this page." in found["note"]
    steps = sorted(
        moment["step"] for one in found["tasks"] if one["group"] for moment in one["steps"]
    )
    assert steps == [*range(1, 401, 3)]
    assert len(browser_data([found])) < 3_000_000


def test_groups_that_were_not_kept_are_named(kept: Path) -> None:
    run = Run.load(kept / "run.json")
    run.identity["settings"]["prompts_per_step"] = KEPT_GROUPS + 1
    note = browsed(run, transcript_of(kept), ())["note"]
    assert note == f"Of every step the first {KEPT_GROUPS} groups were kept."


def test_a_long_text_is_cut_and_says_by_how_much(kept: Path) -> None:
    run = Run.load(kept / "run.json")
    run.after["held-0"] = "x" * 4_100
    rows = [row for row in as_json(kept) if "look" not in row]
    found = of_task(browsed(run, rows, ()), "held-0")["steps"][-1]["answers"][0]["text"]
    assert (len(found["said"]), found["more"]) == (4_000, 100)


# --- what is refused


def test_grades_are_nothing_to_leaf_through(tmp_path: Path) -> None:
    row = {"task": "t", "response": "r", "score": 0.5, "arm": "explicit"}
    (tmp_path / "g.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError):
        write_report(tmp_path / "g.jsonl", tmp_path / "x.html", browse=True)
    with pytest.raises(DataError, match="only a run of rar train"):
        browse_page([])


@pytest.mark.parametrize("damage", [{"groups": 7}, {"groups": [{}]}, {"groups": [{"task": {}}]}])
def test_a_transcript_that_somebody_changed_is_named(kept: Path, damage: dict[str, Any]) -> None:
    path = kept / TRANSCRIPT
    path.write_text(path.read_text() + json.dumps({"step": 5} | damage) + "\n")
    with pytest.raises(DataError, match="is not as rar train writes it"):
        browse_page(kept)


def test_a_line_that_was_cut_off_costs_that_line(kept: Path) -> None:
    whole = leaf(kept)
    path = kept / TRANSCRIPT
    path.write_text(path.read_text() + '{"step": 5, "gro')
    assert leaf(kept) == whole


# --- the page without a browser


def hostile(folder: Path) -> str:
    return browse_page(write_kept(folder, text=HOSTILE), title=HOSTILE)


def test_the_data_is_inert_and_whole(tmp_path: Path) -> None:
    found = leaf(write_kept(tmp_path, text=HOSTILE))
    data = browser_data([found])
    assert not re.search("[<>&\u2028\u2029]", data)
    assert json.loads(data) == {"runs": [found]}


def test_hostile_text_is_text_on_the_page(tmp_path: Path) -> None:
    html = hostile(tmp_path)
    html.encode("utf-8")
    found = BeautifulSoup(html, "html.parser")
    assert [one.get("type") for one in found.find_all("script")] == ["application/json", None]
    assert not found.find_all(["img", "iframe", "object", "a", "form", "base", "link"])
    for element in found.find_all(True):
        for name in element.attrs:
            assert not name.startswith("on"), (element.name, name)
            assert name not in {"style", "src", "srcset", "href", "action", "srcdoc"}
    assert len(found.find_all("h1")) == 1
    shown = [box.get_text() for box in found.select("#rollouts-shown .text")]
    assert any(visible(HOSTILE).strip() in text for text in shown)


def test_a_policy_knows_style_and_script_and_nothing_else(kept: Path) -> None:
    found = BeautifulSoup(browse_page(kept), "html.parser")
    policy = found.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]

    def known(text: str) -> str:
        return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

    style, script = known(found.style.string), known(found.find_all("script")[-1].string)
    assert policy == (
        f"default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'; "
        f"script-src '{script}'"
    )


def test_the_script_makes_text_nodes_and_asks_for_nothing() -> None:
    source = files("rar_lib.book").joinpath("rollouts.js").read_text(encoding="utf-8")
    script = "\n".join(line.split("// ")[0] for line in source.splitlines())
    assert "textContent" in script
    banned = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|fetch|XMLHttp|import"
    )
    assert not re.search(rf"{banned}|\.href|\.src\b|setTimeout|localStorage|cookie", script)
    style = files("rar_lib.book").joinpath("rollouts.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|@font-face|//|expression", style)


def test_without_script_the_first_task_is_there(kept: Path) -> None:
    found = BeautifulSoup(browse_page(kept), "html.parser")
    shown = found.select_one("#rollouts-shown")
    assert "Why? (held-0)" in " ".join(shown.get_text().split())
    assert found.select_one("#rollouts-pick").has_attr("hidden")
    cells = [
        [" ".join(cell.get_text(" ").split()) for cell in row.find_all(["th", "td"])]
        for row in shown.select("tbody tr")
    ]
    assert cells[0] == [
        "Says that ice is less dense. Essential",
        "before training ▼ not met 0.00",
        "after step 4 (last) ▲ met 1.00",
    ]
    assert cells[1][2] == "after step 4 (last) ▲ not met 0.20"


def test_every_choice_has_a_label(kept: Path) -> None:
    found = BeautifulSoup(browse_page(kept), "html.parser")
    labels = {label["for"]: label.get_text() for label in found.find_all("label")}
    chosen = [select["id"] for select in found.find_all("select")]
    assert [labels[name] for name in chosen] == ["Run", "Task", "Step", "Beside"]
    assert found.html["lang"] == "en"
    ids = [element["id"] for element in found.find_all(id=True)]
    assert len(ids) == len(set(ids))


# --- in a real browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rollouts")
    write_report(write_kept(where / "plain"), where / "plain.html", browse=True)
    word = HOSTILE + " " + "x" * 3_000
    write_report(write_kept(where / "hostile", text=word), where / "hostile.html", browse=True)
    return where


@pytest.fixture
def page(chrome: Any) -> Iterator[Any]:
    opened = chrome.new_page()
    problems = watch(opened)
    yield opened
    assert problems == []


def picked(page: Any, name: str) -> str:
    found: str = page.eval_on_selector(f"#pick-{name}", "s => s.selectedOptions[0].textContent")
    return found


def shown(page: Any) -> str:
    found: str = page.inner_text("#rollouts-shown")
    return " ".join(found.split())


@pytest.mark.parametrize(("by", "scheme"), [("file", "light"), ("http", "dark")])
def test_every_choice_fits_every_window_and_asks_for_nothing(
    chrome: Any, folder: Path, by: str, scheme: str
) -> None:
    page = chrome.new_context(color_scheme=scheme).new_page()
    problems, asked = watch(page), []
    page.on("request", lambda r: asked.append(r.url))
    with served(folder) as address:
        for name in ("plain.html", "hostile.html"):
            asked.clear()
            url = (folder / name).resolve().as_uri() if by == "file" else address + name
            page.goto(url)
            tasks = page.eval_on_selector_all("#pick-task option", "o => o.map(x => x.value)")
            assert tasks == ["held-0", "held-1", "held-2", "train-1", "train-0"]
            for task_id in ("held-0", "train-1"):
                page.select_option("#pick-task", task_id)
                page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
                for width in (400, 820, 1400):
                    if said := too_wide(page, width):
                        problems.append(f"{name}, {task_id}: {said}")
                    cut = page.eval_on_selector_all(
                        ".scroll", "all => all.filter(b => b.scrollWidth > b.clientWidth).length"
                    )
                    if cut and name == "plain.html":
                        problems.append(f"{name}, {task_id}: a column is hidden at {width} px")
            if page.evaluate("typeof window.pwned") != "undefined":
                problems.append(f"{name} ran hostile text")
            problems += [f"{name} asked for {a}" for a in asked if a != url]
    assert problems == []


def test_hostile_text_is_read_as_it_was_written(page: Any, folder: Path) -> None:
    page.goto((folder / "hostile.html").as_uri())
    texts = page.eval_on_selector_all(".text", "all => all.map(box => box.textContent)")
    assert any(visible(HOSTILE).strip() in text for text in texts)
    page.select_option("#pick-task", "train-1")
    texts = page.eval_on_selector_all(".text", "all => all.map(box => box.textContent)")
    assert sum(visible(HOSTILE).strip() in text for text in texts) >= 8
    inside = page.eval_on_selector_all("#rollouts-shown *", "all => all.map(e => e.localName)")
    assert not {"script", "img", "a", "iframe", "h1"} & set(inside)
    assert page.evaluate("typeof window.pwned") == "undefined"


def test_the_keyboard_alone_picks_task_and_step(page: Any, folder: Path) -> None:
    page.goto((folder / "plain.html").as_uri())
    assert "It floats, before, held-0." in shown(page)
    assert "It floats, after, held-0." in shown(page)
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["pick-task", "pick-step", "pick-beside", ""]  # one run: nothing to pick
    page.focus("#pick-step")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"
    page.keyboard.press("ArrowUp")
    assert picked(page, "step") == "after step 2"
    assert "At step 2, held-0." in shown(page)
    assert "It floats, after, held-0." not in shown(page)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    assert picked(page, "task").startswith("held-1")
    assert "Why? (held-1)" in shown(page)
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    assert picked(page, "task").startswith("train-1")
    assert (picked(page, "step"), picked(page, "beside")) == ("step 3", "step 1")
    assert "Rollout 8 of step 3." in shown(page)
    assert "Rollout 8 of step 1." in shown(page)
    assert page.evaluate("document.activeElement.id") == "pick-task"
    assert page.inner_text("#rollouts-status") == "Shown: train-1, step 1, beside step 3"


def test_a_group_is_in_the_order_of_its_advantages(page: Any, folder: Path) -> None:
    page.goto((folder / "plain.html").as_uri() + "#task=train-0&step=2&beside=none")
    heads = page.eval_on_selector_all("article h3", "all => all.map(h => h.firstChild.data)")
    assert heads == [f"rollout {k}" for k in (8, 7, 6, 5, 4, 3, 1, 2)]  # 2 is unscored
    first = page.inner_text("article >> nth=0").split("\n")
    assert "0.80" in first
    assert "+4.00" in first
    assert "−3.00" in page.inner_text("article >> nth=6")
    last = page.inner_text("article >> nth=7")
    assert "unscored" in last
    assert "endpoint busy" in last
    assert "advantage" not in last


def test_the_address_leads_back_to_what_was_picked(page: Any, folder: Path) -> None:
    page.goto((folder / "plain.html").as_uri())
    page.select_option("#pick-task", "train-0")
    page.select_option("#pick-step", "2")
    page.select_option("#pick-beside", "none")
    address = page.url
    assert address.endswith("#run=0&task=train-0&step=2&beside=none")
    page.goto("about:blank")
    page.goto(address)
    assert (picked(page, "step"), picked(page, "beside")) == ("step 2", "nothing")
    assert "Rollout 1 of step 2." in shown(page)
    page.goto("about:blank")
    page.goto(address.replace("train-0", "%3Cimg%20src=x%3E").replace("step=2", "step=99"))
    assert picked(page, "task").startswith("held-0")  # what is not there is not picked


def test_without_script_and_on_paper_a_task_is_there(chrome: Any, folder: Path) -> None:
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "plain.html").as_uri())
    assert page.is_hidden("#rollouts-pick")
    assert "It floats, before, held-0." in page.inner_text("#rollouts-shown")
    assert page.is_visible("#rollouts-shown table")
    page = chrome.new_page(viewport={"width": 760, "height": 1000})
    page.goto((folder / "plain.html").as_uri() + "#task=train-1")
    page.emulate_media(media="print")
    assert page.is_hidden("#rollouts-pick")
    assert "Rollout 8 of step 3." in page.inner_text("#rollouts-shown")
    assert page.evaluate("document.documentElement.scrollWidth") <= 760


def test_light_and_dark_differ_and_each_can_be_read(page: Any, folder: Path) -> None:
    page.goto((folder / "plain.html").as_uri() + "#task=train-1")
    grounds = []
    for look in ("light", "dark"):
        page.emulate_media(color_scheme=look)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for selector in (".met", ".unmet", ".unscored", ".note", ".rewards .by", "label", "select"):
            assert page.eval_on_selector(f".rollouts {selector}", CONTRAST) >= 4.5, (look, selector)
    assert grounds == ["rgb(255, 255, 255)", "rgb(18, 18, 18)"]


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_neither_kind_of_task_has_a_serious_barrier(
    page: Any, folder: Path, scheme: str, rules: tuple[str, ...]
) -> None:
    page.emulate_media(color_scheme=scheme)
    for name in ("held-0", "train-1"):
        page.goto((folder / "plain.html").as_uri() + f"#task={name}")
        assert barriers(page, *rules) == []


#: Contrast of an element's text with the first ground below it that is not transparent.
CONTRAST = """element => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  let below = element;
  while (below && (parts(getComputedStyle(below).backgroundColor)[3] ?? 1) === 0) {
    below = below.parentElement;
  }
  const light = colour => parts(colour).slice(0, 3)
    .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const both = [light(getComputedStyle(element).color),
                light(getComputedStyle(below || document.body).backgroundColor)];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""
