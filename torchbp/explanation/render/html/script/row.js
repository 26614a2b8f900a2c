/* Below the drawing: how wrong the answer in the row is, which weight matters most in it, and which units are dead. */
const MOST_DEAD = 6; // units that are named

/* What each row adds to the loss: its share of the sum in the loss's equation; null where that is no sum over the rows. */
function lossesOfRows() {
  const sum = nodesOf(program.trees[data.losses[0]]).find(([kind, , overRows]) => kind === "SumOver" && !overRows);
  const each = sum && valueOf(sum[1], training.values);
  if (each?.rows !== data.count) return null;
  const rows = toLists(each).map((row) => row.reduce((total, n) => total + n, 0)),
    all = rows.reduce((total, n) => total + n, 0);
  return rows.map((row) => (all ? (training.values[data.losses[0]].numbers[0] * row) / all : 0));
}

/* The texts of two numbers, with as many digits as tell them apart. */
function toldApart(a, b) {
  const digits = [4, 6, 8, 12].find((digits) => format(a, digits) !== format(b, digits)) ?? 4;
  return [format(a, digits), format(b, digits)];
}

/* Whether every matrix that learns is drawn as the lines between two columns; of an attention head none is. */
function allAreDrawn() {
  const drawn = columns.map(({ weight }) => weight?.matrix && weight.gradient);
  return Object.values(program.gradients).every((name) => data.vectors.includes(name) || drawn.includes(name));
}

/* The weight to whose gradient the row adds most: {column, to, from, share}; null where no weight learns. */
function strongestWeight() {
  let best = null;
  columns.forEach(({ weight, backward }, column) => {
    if (!weight?.matrix || !weight.later.includes(weight.gradient)) return;
    const [dz, x] = [training.values[backward.at(-1)], training.values[columns[column - 1].output]];
    for (let to = 0; to < dz.columns; to += 1)
      for (let from = 0; from < x.columns; from += 1) {
        const share = entry(dz, state.row, to) * entry(x, state.row, from);
        if (Math.abs(share) > Math.abs(best?.share ?? 0)) best = { column, to, from, share };
      }
  });
  return best;
}

function deadUnits() {
  return columns.flatMap(({ factors: known }, column) =>
    (known?.slopes ?? []).flatMap(({ slope }) => {
      if (!program.slopes[slope]) return [];
      const value = valueOf(program.slopes[slope], training.values);
      const dead = (unit) => Array.from({ length: value.rows }, (_, row) => entry(value, row, unit)).every((n) => n === 0);
      return Array.from({ length: value.columns }, (_, unit) => unit).filter(dead).map((unit) => `unit ${unit + 1} of layer ${column}`);
    }),
  );
}

function follow(unit) {
  const found = chosenBy(unit);
  if (!found) return []; // it is not drawn
  return [button("Follow it", () => {
    state.pinned = false;
    pin(found);
    go(Math.max(state.step, data.steps.findIndex(({ name }) => name === columns[found.column].weight.gradient)));
  })];
}

function showRow() {
  if (!program) return;
  const parts = [],
    losses = data.count > 1 && lossesOfRows(),
    drawn = allAreDrawn(),
    best = drawn && strongestWeight(),
    dead = deadUnits();
  if (losses) {
    const worst = losses.indexOf(Math.max(...losses));
    const [ours, theirs] = toldApart(losses[state.row], losses[worst]);
    const most = worst === state.row ? "the most of all rows" : `row ${worst + 1} adds the most, ${theirs}`;
    parts.push(element("p", `Row ${state.row + 1} adds ${ours} to the loss; ${most}.`));
  }
  if (best) {
    const { weight } = columns[best.column],
      name = shownName(weight.name) + place(best.to, best.from);
    const text = `The weight that matters most in row ${state.row + 1}: ${name}, to whose gradient it adds ${format(best.share)}. `;
    parts.push(element("p", text, "", follow([weight.name, best.to + 1, best.from + 1].join("."))));
  }
  if (!best && drawn) parts.push(element("p", `Row ${state.row + 1} changes no weight: what it adds to each gradient is 0.`));
  if (dead.length) {
    const more = dead.length > MOST_DEAD ? ` and ${dead.length - MOST_DEAD} more` : "";
    parts.push(element("p", `Dead in every row, where the slope is 0 and no gradient comes through: ${dead.slice(0, MOST_DEAD).join(", ")}${more}.`));
  }
  byId("of-row").replaceChildren(...(state.asking ? [] : parts));
}
