/* Everything that shows numbers, brought to the step of the training that is on the screen. */
const cards = [...document.querySelectorAll(".step")];
const DECADES = 3; // of the bars' scale, at least
const firstCards = cards.map((card) => card.innerHTML),
  firstStrip = byId("strip").innerHTML;

function refresh() {
  document.documentElement.classList.toggle("trained", !atFirst());
  if (program) ask();
  paintNetwork();
  showChain();
  if (!program) return;
  showCard();
  showStrip();
  showControls();
  showNumbers();
  showItsAnswer();
  drawLosses();
  drawAnswers();
  const [before, after] = data.losses.map((name) => format(tensors[name]));
  byId("fact-losses").lastChild.textContent = `${before} and ${after}`;
  byId("fact-rate").lastChild.textContent = format(training.steps[training.at].rate);
}

/* The place in a record's tensor that the panel is about; null if it is about another one. */
function chosenPlace({ subject }) {
  const at = state.chosen;
  if (!at || at.loss || !subject || subject.column !== at.column) return null;
  if (at.from !== undefined && subject.kind === "weight") {
    const found = weightIndex(at.column, at.unit, at.from);
    return found.length > 1 ? found : [0, ...found];
  }
  if (at.from !== undefined || subject.kind === "weight") return null;
  return [subject.kind === "vector" ? 0 : state.row, columns[at.column].units[at.unit]];
}

/* The card of the record: its numbers at the first step as they were written, and later those of the screen. */
function showCard(step = state.step) {
  const card = cards[step],
    record = data.steps[step];
  if (card.dataset.changed) card.innerHTML = firstCards[step];
  delete card.dataset.changed;
  if (!program) return;
  for (const show of cardPictures) show(card, record);
  const chosen = chosenPlace(record);
  if (atFirst() && !chosen) return;
  card.dataset.changed = "yes";
  const value = training.values[record.name],
    [row, column] = chosen ?? largest(value, record);
  card.querySelector(".numbers").textContent = lineOf(record.name, row, column, training.values);
  if (!atFirst()) {
    const alone = card.querySelector(".scalar");
    if (alone) alone.textContent = format(value.numbers[0]);
    else fillTable(card, asTable(record.name, value));
  }
  if (chosen) cellAt(card, value, row, column)?.classList.add("chosen");
}

/* The place of the largest number; of what has a row for each sample, in the row that is chosen. */
function largest({ rows, columns: wide, numbers }, { has_rows }) {
  let best = has_rows ? Math.min(state.row, rows - 1) * wide : 0;
  const [first, end] = has_rows ? [best, best + wide] : [0, numbers.length];
  for (let i = first; i < end; i += 1) if (Math.abs(numbers[i]) > Math.abs(numbers[best])) best = i;
  return [Math.floor(best / wide), best % wide];
}

/* A kernel as it stands in its table: rows of its last dimension. */
function asTable(name, value) {
  const wide = data.shapes[name]?.at(-1);
  return wide ? matrix(value.numbers.length / wide, wide, value.numbers) : value;
}

/* Which number each cell shows: all, or where the table is too large its corners. */
const shownAt = (count, shown) => (shown === count ? Array.from({ length: count }, (_, i) => i) : [0, 1, null, count - 1]);

function cellsOf(card, { rows, columns: wide }) {
  const lines = [...card.querySelectorAll("tbody tr")],
    down = shownAt(rows, lines.length);
  const across = shownAt(wide, lines[0]?.children.length ?? wide);
  return lines.flatMap((line, i) => [...line.children].map((cell, j) => ({ cell, row: down[i], column: across[j] })));
}
function fillTable(card, value) {
  for (const { cell, row, column } of cellsOf(card, value))
    if (row !== null && column !== null) cell.textContent = format(entry(value, row, column));
  const caption = card.querySelector("caption .range");
  if (caption) {
    const [low, high] = [Math.min(...value.numbers), Math.max(...value.numbers)];
    caption.textContent = `${format(low)} to ${format(high)}`;
  }
}
const cellAt = (card, value, row, column) =>
  cellsOf(card, value).find((found) => found.row === row && found.column === column)?.cell;

/* The norms of the gradient at each layer, on the scale that holds all of them. */
function showStrip() {
  if (atFirst()) {
    byId("strip").innerHTML = firstStrip;
    return;
  }
  const norms = data.norms.map((name) => Math.hypot(...training.values[name].numbers));
  const powers = norms.filter((n) => n > 0 && Number.isFinite(n)).map((n) => Math.log10(n));
  const top = powers.length ? Math.ceil(Math.max(...powers)) : 0,
    bottom = Math.min((powers.length ? Math.ceil(Math.min(...powers)) : 0) - 1, top - DECADES);
  const lines = byId("strip").querySelectorAll("li");
  lines.forEach((line, i) => {
    const norm = norms[norms.length - 1 - i],
      share = norm > 0 && Number.isFinite(norm) ? (Math.log10(norm) - bottom) / (top - bottom) : 0;
    const bar = element("i");
    bar.style.width = `${100 * share}%`;
    line.querySelector(".bar").replaceChildren(...(share ? [bar] : []));
    line.querySelector(".norm").textContent = format(norm);
  });
  byId("strip").querySelectorAll(".axis span").forEach((end, i) => (end.textContent = powerOfTen(i ? top : bottom)));
}
const powerOfTen = (exponent) => `10${[...minus(String(exponent))].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`;
