// Words and points: one tab stop for all of them, arrow keys, Home and End between them,
// Escape hides the numbers. Without this script, each of them is a tab stop.
for (const list of document.querySelectorAll("[data-arrow-keys]")) {
  const items = [...list.querySelectorAll("[tabindex]")];
  const select = (item) => {
    for (const other of items) other.tabIndex = other === item ? 0 : -1;
  };
  if (items.length) select(items[0]);
  list.addEventListener("focusin", (event) => select(event.target));
  list.addEventListener("pointerover", () => list.classList.remove("dismissed"));
  list.addEventListener("keydown", (event) => {
    const here = items.indexOf(event.target);
    const targets = {
      ArrowRight: here + 1, ArrowDown: here + 1,
      ArrowLeft: here - 1, ArrowUp: here - 1,
      Home: 0, End: items.length - 1,
    };
    if (event.key === "Escape") list.classList.add("dismissed");
    const item = items[targets[event.key]];
    if (!item) return;
    event.preventDefault();
    list.classList.remove("dismissed");
    item.focus();
  });
}
