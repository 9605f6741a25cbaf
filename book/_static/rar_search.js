// The text of the hits. Sphinx fetches each page for it, and fetch fails on file://; here the
// texts lie in a script (rar_texts.js), which may be loaded. Everything is set as text. Pagefind needs
// a server: its modules and WebAssembly do not load from file:// (Pagefind/pagefind, issue 202).
const AROUND = 90;

const excerpt = (text, words) => {
  const low = text.toLowerCase();
  const at = words.map((word) => low.indexOf(word)).filter((place) => place >= 0);
  if (!at.length) return null;
  const middle = Math.min(...at);
  let from = Math.max(0, middle - AROUND);
  if (from > 0) from = text.indexOf(" ", from) + 1;
  if (from > middle) from = middle;
  let to = Math.min(text.length, middle + 2 * AROUND);
  if (to < text.length && text.lastIndexOf(" ", to) > middle) to = text.lastIndexOf(" ", to);
  return [(from > 0 ? "… " : "") , text.slice(from, to), to < text.length ? " …" : ""];
};

const quote = (item, words) => {
  const link = item.querySelector("a[href]");
  if (!link || item.querySelector(".rar-excerpt")) return;
  const name = link.getAttribute("href").split(/[?#]/)[0].replace(/\.html$/, "");
  const page = (window.rarTexts || {})[name];
  const found = page && excerpt(page.text, words);
  if (!found) return;
  const line = document.createElement("p");
  line.className = "rar-excerpt";
  const [before, text, after] = found;
  line.append(before);
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  for (const piece of text.split(new RegExp(`(${escaped.join("|")})`, "gi"))) {
    if (words.includes(piece.toLowerCase())) {
      const mark = document.createElement("mark");
      mark.textContent = piece;
      line.append(mark);
    } else line.append(piece);
  }
  line.append(after);
  item.append(line);
};

document.addEventListener("DOMContentLoaded", () => {
  const results = document.getElementById("search-results");
  const asked = new URLSearchParams(window.location.search).get("q") || "";
  const words = asked.toLowerCase().split(/\s+/).filter((word) => word.length > 1);
  if (!results || !words.length) return;
  const all = () => results.querySelectorAll("li").forEach((item) => quote(item, words));
  const texts = document.createElement("script");
  texts.src = "_static/rar_texts.js"; // all pages of this book lie in one folder
  texts.addEventListener("load", () => {
    new MutationObserver(all).observe(results, { childList: true, subtree: true });
    all();
  });
  document.head.append(texts);
});
