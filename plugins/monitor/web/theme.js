// Light or dark, set before anything is drawn: what was chosen here before, else what the system says.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("howdah-theme");
  } catch {
    // Storage may be forbidden: then the choice lasts as long as the page.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
