"use strict";

// Hides rows of the tables; all else is there without it.
(() => {
  const filter = document.getElementById("filter");
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const boxes = [...filter.querySelectorAll("input[name=outcome]")];
  const tables = [...document.querySelectorAll(".operation")];
  const rows = tables.flatMap((table) =>
    [...table.querySelectorAll("tbody tr")].map((element) => ({
      element,
      outcomes: element.dataset.outcomes.split("|"),
      words: [table.dataset.operation, ...[...element.querySelectorAll("th, .what > *")].map((part) => part.textContent)]
        .join(" ")
        .toLowerCase(),
    })),
  );

  function show() {
    const wanted = search.value.toLowerCase().split(/\s+/);
    const chosen = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const row of rows) {
      const fits = wanted.every((word) => row.words.includes(word)) && row.outcomes.some((outcome) => chosen.has(outcome));
      row.element.hidden = !fits;
      shown += fits;
    }
    for (const table of tables) {
      table.hidden = !table.querySelector("tbody tr:not([hidden])");
    }
    count.textContent = `${shown} of ${rows.length} row${rows.length === 1 ? "" : "s"} shown`;
  }

  filter.addEventListener("input", show);
  for (const button of filter.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const without = button.dataset.without.split("|");
      for (const box of boxes) {
        box.checked = !without.includes(box.value);
      }
      search.value = "";
      show();
    });
  }
  filter.hidden = rows.length === 0;
  show(); // a browser may keep what was typed
})();
