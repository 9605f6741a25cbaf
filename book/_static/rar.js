// The theme's buttons call JavaScript from an onclick attribute, which the page's
// Content-Security-Policy forbids; the build renames it and this file listens instead.
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("[data-rar-print]")) {
    button.addEventListener("click", () => window.print());
  }
});

// What does not fit says so: a class for its cut edge, and a line of text above it. What fits is no
// stop for the keyboard.
const showCut = (box) => {
  const left = box.scrollWidth - box.clientWidth - box.scrollLeft;
  box.classList.toggle("rar-cut-right", left > 1);
  const wide = box.scrollWidth > box.clientWidth + 1;
  box.classList.toggle("rar-wide", wide);
  if (wide) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
  let hint = box.previousElementSibling;
  if (!hint || !hint.classList.contains("rar-hint")) {
    if (!wide) return;
    hint = document.createElement("span");
    hint.className = "rar-hint";
    const more = box.querySelector("table") ? "more columns" : "more";
    hint.textContent = `${more} to the right: scroll →`;
    box.before(hint);
  }
  hint.hidden = !wide;
  hint.style.visibility = left > 1 ? "visible" : "hidden";
};
window.addEventListener("load", () => {
  const boxes = document.querySelectorAll(".rar-scroll, .bd-article .highlight pre");
  const resized = new ResizeObserver((seen) => seen.forEach((entry) => showCut(entry.target)));
  for (const box of boxes) {
    box.addEventListener("scroll", () => showCut(box), { passive: true });
    resized.observe(box);
    showCut(box);
  }
});

// A definition opens to the right of its term, as far as the window lets it: over the edge it moves back.
const keepInside = (event) => {
  const tip = event.target.closest?.(".rar-term")?.querySelector(".rar-tip");
  if (!tip) return;
  tip.style.removeProperty("--rar-shift");
  const over = tip.getBoundingClientRect().right + 8 - document.documentElement.clientWidth;
  if (over > 0) tip.style.setProperty("--rar-shift", `${-over}px`);
};
document.addEventListener("pointerover", keepInside);
document.addEventListener("focusin", keepInside);

// What is folded has no width yet. The theme sees at a resize which code scrolls, and so takes the focus.
document.addEventListener("click", (event) => {
  if (event.target.closest(".admonition.toggle > .admonition-title")) {
    window.dispatchEvent(new Event("resize"));
  }
});
