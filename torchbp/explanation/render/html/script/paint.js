const SHARE = 18; // per cent of colour behind the largest number of a column: its text stays legible

/* What is known after a step: in each column the last value and the last derivative, in each pair the weights. */
function paintNetwork() {
  showRow();
  const known = knownNames();
  const now = data.steps[state.step],
    n = state.row,
    card = document.getElementById("network"),
    narrow = card.clientWidth < NARROW;
  const latest = (names) => names.filter((name) => known.has(name)).at(-1);
  columns.forEach((of, column) => {
    const top = column ? latest(of.forward) : of.forward[0];
    const bottom = column ? latest(of.backward) : undefined;
    heads[column].textContent = [top, bottom]
      .filter(Boolean)
      .map(shownName)
      .join(", ");
    const current = now.units.includes(column);
    const most = Math.max(...(top ? tensors[top][n] : []).map(Math.abs)) || 1;
    units[column].forEach(({ group, rect, value, delta, bias, top: y }, unit) => {
      const size = top ? tensors[top][n][unit] / most : 0;
      rect.style.setProperty("--hue", `var(--${size < 0 ? "negative" : "positive"})`);
      rect.style.setProperty("--share", `${Math.round(SHARE * Math.abs(size))}%`);
      group.classList.toggle("known", Boolean(top));
      group.classList.toggle("now", current);
      value.textContent = top ? format(tensors[top][n][unit], 3) : "·";
      value.setAttribute("y", y + (bottom ? 15 : 22));
      delta.textContent = bottom ? `∂ ${format(tensors[bottom][n][unit], narrow ? 2 : 3)}` : "";
      delta.classList.toggle("now", current && now.derivative);
      if (bias) {
        const latestBias = latest(of.bias) ?? of.bias[0];
        bias.textContent = `${shownName(latestBias)} ${format(tensors[latestBias][unit], 3)}`;
      }
      if (column === columns.length - 1) {
        const label = of.labels[unit] ? `${cutTo(of.labels[unit], 10)}, ` : "",
          word = narrow && label ? `${shownName(data.target)} =` : "target";
        group.querySelector(".label").textContent = `${label}${word} ${format(tensors[data.target][n][unit])}`;
      }
      // what is read aloud holds what is seen, as it is seen
      const names = [top, bottom].filter(Boolean).map(shownName);
      const seen = [...group.querySelectorAll("text")].map((text) => text.textContent).filter(Boolean);
      group.setAttribute("aria-label", `${[unitName(column, unit), ...names].join(", ")}: ${seen.join(" ")}`);
    });
    if (column && !of.weight) pairs[column].label.textContent = of.kind; // it has no lines
    if (!column || !of.weight) return;
    const weights = latest(of.weight.later) ?? of.weight.name,
      { group, label } = pairs[column];
    group.classList.toggle("known", known.has(of.forward[0]));
    group.classList.toggle("now", now.weights.includes(column));
    label.textContent = shownName(weights);
    const sizes = tensors[weights]
      .flat()
      .map(Math.abs)
      .sort((a, b) => b - a);
    const largest = sizes[0] || 1,
      bound = sizes[STRONG[narrow ? 1 : 0]] ?? 0;
    links[column].forEach((row, unit) =>
      row.forEach((link, from) => {
        if (!link) return;
        const value = ofWeight(of.weight, tensors[weights], unit, from),
          edge = link.lastElementChild;
        const weak = Math.abs(value) < bound,
          size = Math.abs(value) / largest;
        edge.setAttribute("class", `edge ${value < 0 ? "negative" : "positive"}${weak ? " weak" : ""}`);
        edge.style.strokeWidth = weak ? "" : 0.6 + (narrow ? 2.9 : 4.4) * size;
        edge.style.opacity = weak ? "" : 0.3 + 0.7 * size;
        link.setAttribute(
          "aria-label",
          `${shownName(weights)}${weightPlace(column, unit, from)} ${format(value)}`,
        );
      }),
    );
  });
  card.scrollLeft =
    (card.scrollWidth * ((now.number ?? columns.length) + 0.5)) / (columns.length + 1) - card.clientWidth / 2;
  const name = latest(data.losses);
  loss.box.classList.toggle("known", Boolean(name));
  loss.box.classList.toggle("now", now.name === name);
  loss.toLoss.classList.toggle("known", Boolean(name));
  loss.text.textContent = name ? format(tensors[name]) : "·";
  loss.head.textContent = name ? shownName(name) : "";
  loss.box.setAttribute("aria-label", `The loss ${name ? shownName(name) : ""}: ${loss.text.textContent}`);
}
