"use strict";
(() => {
  const gallery = document.getElementById("gallery");
  const words = new Intl.Collator(undefined, { numeric: true });

  // What has no value comes last in either direction.
  function compare(a, b, kind, direction) {
    if (a === "" || b === "") return (a === "") - (b === "");
    return direction * (kind === "number" ? a - b : words.compare(a, b));
  }

  function sortChildren(parent, valueOf, kind, direction) {
    const items = [...parent.children].map((item) => [valueOf(item), item]);
    items.sort((a, b) => compare(a[0], b[0], kind, direction));
    parent.append(...items.map(([, item]) => item));
  }

  // Marks a button of a group as the one sorted by; a second click turns it round.
  function pressed(button, group) {
    const direction = button.dataset.direction === "1" ? -1 : 1;
    for (const other of group) delete other.dataset.direction;
    button.dataset.direction = direction;
    return direction;
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const buttons = [...table.querySelectorAll("thead button")];
    buttons.forEach((button, column) => {
      button.addEventListener("click", () => {
        const direction = pressed(button, buttons);
        for (const other of buttons) other.parentElement.removeAttribute("aria-sort");
        button.parentElement.setAttribute(
          "aria-sort", direction > 0 ? "ascending" : "descending");
        const valueOf = (row) => row.children[column].dataset.value;
        sortChildren(table.tBodies[0], valueOf, button.dataset.kind, direction);
      });
    });
  }

  if (!gallery) return;
  const buttons = [...document.querySelectorAll("button[data-sort]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const direction = pressed(button, buttons);
      const valueOf = (figure) => figure.dataset[button.dataset.sort];
      sortChildren(gallery, valueOf, button.dataset.kind, direction);
    });
  }

  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  function show() {
    let count = 0;
    for (const figure of gallery.children) {
      const { outcome } = figure.dataset;
      const fits = !filter.value || filter.value === outcome ||
        (filter.value === "wrong" && outcome !== "right");
      figure.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${gallery.children.length} images`;
  }
  filter.addEventListener("change", show);
  show(); // browsers keep the choice over a reload

  const maps = document.getElementById("maps");
  function showMaps() {
    gallery.classList.toggle("maps", maps.checked);
    for (const figure of gallery.children) figure.classList.remove("turned");
  }
  maps.addEventListener("change", showMaps);
  showMaps();
  gallery.addEventListener("click", (event) => {
    const button = event.target.closest("figure button");
    if (button) button.parentElement.classList.toggle("turned");
  });
})();
