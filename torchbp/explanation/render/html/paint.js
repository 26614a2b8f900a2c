const SHARE = 18; // per cent of colour behind the largest number of a column: its text stays legible

/* What is known after a step: in each column the last value and the last derivative, in each pair the weights. */
function paintNetwork() {
  const known = new Set(data.steps.slice(0, state.step + 1).map(([name]) => name));
  const [now, , number] = data.steps[state.step],
    n = state.row,
    card = document.getElementById("network"),
    narrow = card.clientWidth < NARROW;
  const latest = (names) => names.filter((name) => known.has(name)).at(-1);
  columns.forEach((of, column) => {
    const top = column ? latest([...of.values, ...of.values.map((v) => `${v}′`)]) : of.values[0];
    const bottom = column ? latest([...of.values].reverse().map(d)) : undefined;
    heads[column].textContent = [top, bottom && nice(bottom)].filter(Boolean).join(", ");
    const current = [
      ...of.values,
      ...of.values.map((v) => `${v}′`),
      ...of.values.map(d),
      of.bias,
      d(of.bias),
      `${of.bias}′`,
    ].includes(now);
    const most = Math.max(...(top ? tensors[top][n] : []).map(Math.abs)) || 1;
    units[column].forEach(({ group, rect, value, delta, top: y }, unit) => {
      const size = top ? tensors[top][n][unit] / most : 0;
      rect.style.setProperty("--hue", `var(--${size < 0 ? "negative" : "positive"})`);
      rect.style.setProperty("--share", `${Math.round(SHARE * Math.abs(size))}%`);
      group.classList.toggle("known", Boolean(top));
      group.classList.toggle("now", current);
      value.textContent = top ? format(tensors[top][n][unit], 3) : "·";
      value.setAttribute("y", y + (bottom ? 15 : 22));
      delta.textContent = bottom ? `∂ ${format(tensors[bottom][n][unit], narrow ? 2 : 3)}` : "";
      delta.classList.toggle("now", current && now.startsWith("dL"));
      if (column === columns.length - 1) {
        const label = of.labels[unit] ? `${cutTo(of.labels[unit], 10)}: ` : "";
        group.querySelector(".label").textContent = `${label}y = ${format(tensors.y[n][unit])}`;
      }
      const spoken = [
        top && `${top} ${format(tensors[top][n][unit])}`,
        bottom && `derivative ${format(tensors[bottom][n][unit])}`,
      ];
      group.setAttribute("aria-label", [unitName(column, unit), ...spoken.filter(Boolean)].join(", "));
    });
    if (!column) return;
    const weights = latest([d(of.weight), `${of.weight}′`]) ?? of.weight,
      { group, label } = pairs[column];
    group.classList.toggle("known", known.has(of.values[0]));
    group.classList.toggle(
      "now",
      [of.values[0], `${of.values[0]}′`, d(of.weight), `${of.weight}′`, d(output(column - 1))].includes(now),
    );
    label.textContent = nice(weights);
    const sizes = tensors[weights]
      .flat()
      .map(Math.abs)
      .sort((a, b) => b - a);
    const largest = sizes[0] || 1,
      bound = sizes[STRONG[narrow ? 1 : 0]] ?? 0;
    links[column].forEach((row, unit) =>
      row.forEach((link, from) => {
        const value = tensors[weights][unit][from],
          edge = link.lastChild;
        const weak = Math.abs(value) < bound,
          size = Math.abs(value) / largest;
        edge.setAttribute("class", `edge ${value < 0 ? "negative" : "positive"}${weak ? " weak" : ""}`);
        edge.style.strokeWidth = weak ? "" : 0.6 + (narrow ? 2.9 : 4.4) * size;
        edge.style.opacity = weak ? "" : 0.3 + 0.7 * size;
        link.setAttribute(
          "aria-label",
          `${nice(weights)}${place(of.units[unit], columns[column - 1].units[from])} ${format(value)}`,
        );
      }),
    );
  });
  card.scrollLeft =
    (card.scrollWidth * ((number ?? columns.length) + 0.5)) / (columns.length + 1) - card.clientWidth / 2;
  const name = latest(["L", "L′"]);
  loss.box.classList.toggle("known", Boolean(name));
  loss.box.classList.toggle("now", now === name);
  loss.toLoss.classList.toggle("known", Boolean(name));
  loss.text.textContent = name ? format(tensors[name]) : "·";
  loss.head.textContent = name ?? "";
}
