// The rollout browser. All data is the inert JSON on the page; every string of it becomes a text
// node (textContent), none becomes markup, an address, a style or a name. Nothing is fetched.
"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const source = byId("rollouts-data");
  const shown = byId("rollouts-shown");
  if (!source || !shown) return;
  const runs = JSON.parse(source.textContent).runs;
  if (!runs.length) return;
  const pick = {
    run: byId("pick-run"),
    task: byId("pick-task"),
    step: byId("pick-step"),
    beside: byId("pick-beside"),
  };
  const NOTHING = "none";

  // --- elements

  function make(name, className, ...children) {
    const element = document.createElement(name);
    if (className) element.className = className;
    element.append(...children.filter((child) => child !== null)); // a string becomes a text node
    return element;
  }

  function alone(text) {
    return make("bdi", "", text); // its direction is its own, and leaves the line around it alone
  }

  function svg(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    element.append(...children);
    return element;
  }

  function drawing(className, ...children) {
    const box = { class: className, viewBox: "0 0 100 6", preserveAspectRatio: "none" };
    return svg("svg", { ...box, "aria-hidden": "true" }, ...children);
  }

  function bar(share, against) {
    const track = svg("rect", { class: "track", width: 100, height: 6 });
    const width = Math.min(100, Math.max(0, 100 * share));
    const fill = { class: against ? "fill against" : "fill", width, height: 6 };
    return drawing("bar", track, svg("rect", fill));
  }

  // From the middle to the right for what is reinforced, to the left for what is not.
  function leaning(value, most) {
    const wide = most > 0 ? Math.min(50, (50 * Math.abs(value)) / most) : 0;
    const x = value < 0 ? 50 - wide : 50;
    const fill = { class: value < 0 ? "fill against" : "fill", x, width: wide, height: 6 };
    const track = svg("rect", { class: "track", width: 100, height: 6 });
    const middle = svg("rect", { class: "span", x: 49.6, width: 0.8, height: 6 });
    return drawing("bar", track, svg("rect", fill), middle);
  }

  function known(value) {
    return typeof value === "number";
  }

  function number(value) {
    return known(value) ? value.toFixed(2) : "unscored";
  }

  // "Not met" beside "0.50" would look wrong: so near to one half there are more decimals.
  function probability(p) {
    const close = p.toFixed(2) === "0.50" && p !== 0.5;
    return p.toFixed(close ? 4 : 2);
  }

  function signed(value) {
    const text = Math.abs(value).toFixed(2);
    if (Number(text) === 0) return "0.00";
    return (value < 0 ? "−" : "+") + text;
  }

  function counted(count, noun) {
    return count + " " + noun + (count === 1 ? "" : "s");
  }

  function prose(text, label, missing) {
    if (!known(text.more)) return make("p", "note", missing);
    if (!text.said.trim()) return make("p", "note", "(empty)");
    const box = make("div", "text", text.said.trimEnd());
    box.dir = "auto";
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", label);
    const whole = make("button", "whole", "Show all of it");
    whole.type = "button";
    whole.hidden = true;
    whole.setAttribute("aria-label", "Show all of it: " + label);
    const rest = counted(text.more, "more character") + " not shown here.";
    return make("div", "", box, whole, text.more ? make("p", "note", rest) : null);
  }

  function scrolls(label, table) {
    const box = make("div", "scroll", table);
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", label);
    return box;
  }

  // The keyboard stops at a box only where there is something to scroll; a text that is cut says so.
  function reach() {
    for (const box of shown.querySelectorAll(".scroll")) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
    for (const box of shown.querySelectorAll(".text")) {
      const cut = box.scrollHeight > box.clientHeight + 1;
      box.classList.toggle("cut", cut);
      box.nextElementSibling.hidden = !cut;
    }
  }

  function showWhole(event) {
    const button = event.target.closest(".whole");
    if (!button) return;
    button.previousElementSibling.classList.add("all");
    reach();
  }

  // --- one answer

  function rewards(answer, most) {
    const list = make("ul", "rewards");
    for (const one of answer.rewards) {
      const value = make("b", "", number(one.value));
      const item = make("li", "", make("span", "by", alone(one.by)), value);
      item.append(known(one.value) ? bar(one.value, false) : make("span", "bar"));
      if (known(one.advantage)) {
        item.append(make("span", "by", "advantage"), make("b", "", signed(one.advantage)));
        item.append(leaning(one.advantage, most));
      }
      if (one.reason) item.append(make("span", "why", "Why: ", alone(one.reason)));
      list.append(item);
    }
    if (!answer.rewards.length) list.append(make("li", "note", "No grade of this answer is kept here."));
    return list;
  }

  function card(answer, title, most) {
    const tokens = known(answer.tokens) ? make("span", "about", counted(answer.tokens, "token")) : null;
    const head = make("h3", "", title, tokens ? " " : null, tokens);
    const text = prose(answer.text, title, "The text of this answer was not kept.");
    return make("article", "", head, rewards(answer, most), text);
  }

  function advantages(answers) {
    return answers.flatMap((answer) => answer.rewards.map((one) => one.advantage)).filter(known);
  }

  // --- criteria

  function verdict(criterion, found) {
    if (!found) return [make("span", "unscored", "not asked")];
    if (found.met === null) {
      return [make("span", "unscored", "? unscored"), " ", alone(found.reason || "no reason given")];
    }
    const good = found.met !== criterion.against;
    const word = (good ? "▲" : "▼") + (found.met ? " met" : " not met");
    const parts = [make("span", good ? "met" : "unmet", word)];
    if (known(found.p)) parts.push(" ", make("span", "p", probability(found.p)), bar(found.p, !good));
    return parts;
  }

  // A table has at most so many answers: sixteen rollouts are two tables, one under the other.
  const COLUMNS = 8;

  function criteria(task, all) {
    const parts = [];
    for (let first = 0; first < all.length; first += COLUMNS) {
      parts.push(...tables(task, all.slice(first, first + COLUMNS)));
    }
    if (!parts.length) {
      const why = "No verdicts on single criteria are kept here; a rating of the whole answer has none.";
      return make("p", "note", why);
    }
    return make("div", "", ...parts);
  }

  function tables(task, answers) {
    const parts = [];
    task.criteria.forEach((group, place) => {
      const judged = answers.some((one) => one.answer.verdicts[place]);
      if (!judged) return;
      const head = make("tr", "", th("col", "criterion"));
      for (const one of answers) head.append(th("col", one.title));
      const body = make("tbody");
      group.rows.forEach((criterion, row) => {
        const name = th("row", alone(criterion.text), " ", make("span", "tag", criterion.category));
        if (criterion.against) name.append(" ", make("span", "tag", "met counts against"));
        const line = make("tr", "", name);
        for (const one of answers) {
          const of = one.answer.verdicts[place];
          const cell = make("td", "", make("span", "whose", one.title), ...verdict(criterion, of && of[row]));
          line.append(cell);
        }
        body.append(line);
      });
      const key = "). ▲ speaks for the answer, ▼ against it; number and bar are the judge's probability that the criterion is met.";
      const caption = make("caption", "", make("span", "", "Verdicts (", alone(group.by), key));
      const kind = answers.length > 4 ? "criteria many" : "criteria";
      const table = make("table", kind, caption, make("thead", "", head), body);
      parts.push(scrolls("verdicts: " + group.by, table));
    });
    return parts;
  }

  function th(scope, ...children) {
    const cell = make("th", "", ...children);
    cell.scope = scope;
    return cell;
  }

  // --- one step of a task

  function group(task, moment) {
    const order = (one) => (one.rewards[0] && known(one.rewards[0].advantage) ? one.rewards[0].advantage : -Infinity);
    const sorted = [...moment.answers].sort((a, b) => order(b) - order(a) || 0);
    const most = Math.max(0, ...advantages(sorted).map(Math.abs));
    const cards = make("div", "cards-of", ...sorted.map((one) => card(one, one.name, most)));
    const columns = sorted.map((answer) => ({ title: answer.name, answer }));
    return make(
      "section",
      "moment",
      make("h2", "", moment.label),
      make("p", "note", moment.summary),
      cards,
      criteria(task, columns),
    );
  }

  function answersOf(task, moments) {
    const sides = moments.map((moment) => ({ title: moment.label, answer: moment.answers[0] }));
    const cards = sides.map((one) => card(one.answer, one.title, 0));
    const texts = sides.map((one) => one.answer.text).filter((text) => known(text.more));
    const same = texts.length === 2 && texts[0].said === texts[1].said;
    const note = same ? make("p", "note", "Both answers are the same, word by word.") : null;
    const answers = make("section", "", make("h2", "", "Answers"), make("div", "side-by-side", ...cards), note);
    if (!sides.some((one) => one.answer.rewards.length)) return [answers];
    return [answers, make("section", "", make("h2", "", "Criteria"), criteria(task, sides))];
  }

  function question(task) {
    const found = make("section", "", make("h2", "", "Question"));
    for (const turn of task.history) {
      found.append(make("h3", "", turn.role), prose(turn.text, turn.role, ""));
    }
    const asked = prose(task.question, "question", "The question was not kept by this run.");
    asked.classList.add("asked");
    found.append(asked);
    if (known(task.reference.more)) {
      const label = "Reference answer, which the policy does not see";
      const folded = make("details", "", make("summary", "", label));
      folded.append(make("div", "", prose(task.reference, "reference answer", "")));
      found.append(folded);
    }
    return found;
  }

  // --- what is picked

  function fill(select, choices, wanted) {
    select.replaceChildren();
    let part = null;
    for (const choice of choices) {
      if (choice.part && (!part || part.label !== choice.part)) {
        part = document.createElement("optgroup");
        part.label = choice.part;
        select.append(part);
      }
      const option = make("option", "", choice.label);
      option.value = choice.value;
      (choice.part ? part : select).append(option);
    }
    const there = choices.some((choice) => choice.value === wanted);
    select.value = there ? wanted : choices.length ? choices[0].value : "";
    select.disabled = choices.length < 2;
  }

  function run() {
    return runs[Number(pick.run.value)];
  }

  function task() {
    return run().tasks.find((one) => one.id === pick.task.value);
  }

  function momentAt(value) {
    return task().steps.find((one) => String(one.step) === value);
  }

  function fillTasks(wanted) {
    const choices = run().tasks.map((one) => ({ value: one.id, label: one.label, part: one.part }));
    fill(pick.task, choices, wanted);
  }

  function fillSteps(wanted, beside) {
    const steps = task().steps;
    const choices = steps.map((one) => ({ value: String(one.step), label: one.label }));
    const last = choices.length ? choices[choices.length - 1].value : "";
    fill(pick.step, choices, choices.some((one) => one.value === wanted) ? wanted : last);
    const none = { value: NOTHING, label: "nothing" };
    const first = choices.length > 1 ? choices[0].value : NOTHING;
    fill(pick.beside, [none, ...choices], beside || first);
  }

  function show() {
    const now = momentAt(pick.step.value);
    const then = pick.beside.value === NOTHING ? null : momentAt(pick.beside.value);
    const moments = (then && then !== now ? [then, now] : [now]).filter(Boolean);
    const parts = [];
    if (run().note) parts.push(make("p", "note", run().note));
    parts.push(question(task()));
    if (!moments.length) parts.push(make("p", "note", "No answer to this task was kept."));
    else if (task().group) {
      const wide = moments.length > 1 ? "side-by-side" : "whole-width";
      parts.push(make("div", wide, ...moments.map((one) => group(task(), one))));
    } else parts.push(...answersOf(task(), moments));
    shown.replaceChildren(...parts);
    reach();
    const labels = moments.map((one) => one.label).join(", beside ");
    byId("rollouts-status").textContent = "Shown: " + task().name + (labels ? ", " + labels : "");
    remember();
  }

  // The address leads back to what is shown, so that it can be passed on.
  function remember() {
    const said = new URLSearchParams();
    for (const name of ["run", "task", "step", "beside"]) said.set(name, pick[name].value);
    try {
      history.replaceState(null, "", "#" + said);
    } catch {
      // A page in a frame or an archive may have no address of its own.
    }
  }

  function recall() {
    const said = new URLSearchParams(location.hash.slice(1));
    const wanted = said.get("run");
    const choices = runs.map((one, place) => ({ value: String(place), label: one.name }));
    fill(pick.run, choices, wanted);
    fillTasks(said.get("task"));
    fillSteps(said.get("step"), said.get("beside"));
    show();
  }

  pick.run.addEventListener("change", () => {
    fillTasks(pick.task.value);
    fillSteps(null, null);
    show();
  });
  pick.task.addEventListener("change", () => {
    fillSteps(null, null);
    show();
  });
  pick.step.addEventListener("change", show);
  pick.beside.addEventListener("change", show);
  window.addEventListener("hashchange", recall);
  window.addEventListener("resize", reach);
  shown.addEventListener("click", showWhole);
  shown.addEventListener("toggle", reach, true); // a folded text has no height
  byId("rollouts-pick").hidden = false;
  recall();
})();
