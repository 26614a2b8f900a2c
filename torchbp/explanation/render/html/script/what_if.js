/* What a unit does: where its output is large, what the loss would be without it, and its plot. What another row's answer
   would be. */
const MOST_ASKED = 40; // inputs of another row

/* Of a unit that is held in the panel. */
function aboutUnit(column, unit) {
  const { output, units: numbers } = columns[column],
    at = numbers[unit];
  if (!program || !state.pinned || state.asking) return [];
  if (column && !knownNames().has(output)) return later(output, "Show what it does");
  const value = training.values[output],
    all = Array.from({ length: value.rows }, (_, row) => entry(value, row, at)),
    [low, high] = [Math.min(...all), Math.max(...all)],
    where = (number) => `in row ${all.indexOf(number) + 1}, ${format(number)}`;
  const says = low === high ? `is the same in every row, ${format(low)}` : `is largest ${where(high)}, and smallest ${where(low)}`;
  const parts = value.rows > 1 && low <= high ? [element("p", `${column ? "The output of this unit" : "This input"} ${says}.`)] : [];
  parts.push(...paragraphs([withoutUnit(column, at)]));
  if (column && isPlotted()) parts.push(element("div", "", "plot"));
  return parts;
}

/* L with all weights of what comes after the unit 0; "" where it has no such weights. */
function withoutUnit(column, at) {
  const { weight } = columns[column + 1] ?? {};
  if (!weight?.matrix) return "";
  const { given } = training.steps[training.at],
    { rows, columns: wide, numbers } = given[weight.name],
    removed = matrix(rows, wide, numbers.map((n, i) => (i % wide === at ? 0 : n))),
    found = forwardOf({ ...given, [weight.name]: removed })[data.losses[0]].numbers[0],
    what = column ? "unit" : "input";
  return `Without this ${what}, its weights in ${shownName(weight.name)} all 0, ${shownName(data.losses[0])} would be ${format(found)} and not ${format(training.steps[training.at].loss)}.`;
}

/* What the network answers to a row that the reader types. */
function askNetwork() {
  const x = training.values[program.inputs[0]];
  if (x.columns > MOST_ASKED || !forwardTo(fromLists([toLists(x)[0]]))) return;
  byId("ask-network").hidden = false;
  const inputs = Array.from({ length: x.columns }, (_, unit) => {
    const input = Object.assign(element("input"), { type: "number", step: "any", value: entry(x, 0, unit) });
    input.addEventListener("input", showItsAnswer);
    return element("label", `${inputName(unit)} `, "", [input]);
  });
  byId("asked-row").append(...inputs);
  showItsAnswer();
}
function showItsAnswer() {
  const row = [...byId("asked-row").querySelectorAll("input")].map((input) => input.valueAsNumber);
  if (!row.length || !row.every(Number.isFinite)) return;
  const found = forwardTo(fromLists([row]))[program.answer],
    { units: numbers, labels } = columns.at(-1);
  const shown = toLists(found)[0].map((number, unit) => {
    const label = labels[numbers.indexOf(unit)];
    return `${shownName(program.answer)}${place(0, unit)}${label ? ` (${label})` : ""} = ${format(number)}`;
  });
  byId("its-answer").textContent = shown.join(", ");
}
