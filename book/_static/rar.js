// The theme's buttons call JavaScript from an onclick attribute, which the page's
// Content-Security-Policy forbids; the build renames it and this file listens instead.
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("[data-rar-print]")) {
    button.addEventListener("click", () => window.print());
  }
});
