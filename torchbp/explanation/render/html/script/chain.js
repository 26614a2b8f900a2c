/* The panel under the drawing: a unit, a weight or the loss in the step on the screen, and the way from the loss to it. */
const tile = (name, value, kind = "") =>
  element("span", "", `tile ${kind}`, [element("small", name), element("b", format(value))]);

/* Tiles whose product is the last one's value. */
function tiles(factors, result) {
  const parts = factors.flatMap(([name, value], i) => (i ? ["×", tile(name, value)] : [tile(name, value)]));
  return element("div", "", "tiles", [...parts, "=", tile(...result, "result")]);
}

const unitName = (column, unit) => {
  const { units: numbers, labels } = columns[column];
  const named = labels[unit] ? ` (${labels[unit]})` : "";
  return column ? `Unit ${numbers[unit] + 1} of layer ${column}${named}` : `Input ${numbers[unit] + 1}${named}`;
};

/* A weight between two columns: of a parameter with one number for each unit, each unit has one. */
const ofWeight = (weight, tensor, unit, from) => (weight.matrix ? tensor[unit][from] : tensor[unit]);
const weightIndex = (column, unit, from) => {
  const to = columns[column].units[unit];
  return columns[column].weight.matrix ? [to, columns[column - 1].units[from]] : [to];
};
const weightPlace = (...at) => place(...weightIndex(...at));
const connected = (column, unit, from) => {
  const { weight, units: numbers } = columns[column];
  return Boolean(weight) && (weight.matrix || numbers[unit] === columns[column - 1].units[from]);
};

/* The line of a quantity of a unit in the row, or of a parameter's element; "" where the page has none. */
const unitLine = (column, unit, name) => {
  const { units: numbers, lines } = columns[column];
  return program ? lineOf(name, state.row, numbers[unit], training.values) : (lines[state.row][unit][name] ?? "");
};
const elementLine = (name, at) => lineOf(name, at.length > 1 ? at[0] : 0, at.at(-1), training.values);
const paragraphs = (lines) => lines.filter(Boolean).map((line) => element("p", line));

/* The factors of the derivative by a unit's Z: by its output, then the slope of each activation. */
function factors(column, unit) {
  const { first, slopes: names } = columns[column].factors,
    n = state.row;
  const list = [[shownName(first) + place(n, columns[column].units[unit]), tensors[first][n][unit]]];
  names.forEach(({ name, slope }) => list.push([name, slopes[slope][n][unit]]));
  return list;
}

/* The units from this one to the output, each time the one through which most of the gradient comes; through a layer
   without weights between units, such as a norm, the one with the largest gradient. */
function strongestPath(column, unit) {
  const path = [{ column, unit }];
  for (let above = column + 1; above < columns.length; above += 1) {
    const { weight, backward } = columns[above],
      below = path.at(-1).unit;
    if (!backward.length) return path;
    const gradients = tensors[backward.at(-1)][state.row];
    const share = (to) => (weight ? gradients[to] * (weight.matrix ? tensors[weight.name][to][below] : to === below) : gradients[to]);
    const best = columns[above].units.map((_, to) => Math.abs(share(to))).reduce((b, s, i, all) => (s > all[b] ? i : b), 0);
    path.push({ column: above, unit: best });
  }
  return path;
}

/* How the gradient comes to a unit: the sum over the units above it, then the slopes of its activations. */
function arrival({ column, unit }, above) {
  const { factors: known, backward, units: numbers } = columns[column],
    names = knownNames();
  if (!backward.length || !names.has(backward[0])) return null;
  const item = element("li", "", "", paragraphs([unitLine(column, unit, backward[0])]));
  if (above && columns[above.column].weight?.matrix && columns[above.column].units.length > 1) {
    const through = columns[above.column].units[above.unit] + 1;
    item.append(element("p", `All paths add up here; the strongest comes through unit ${through} of layer ${above.column}.`, "note"));
  }
  const result = backward.at(-1);
  if (known?.slopes.length && names.has(result)) {
    const list = factors(column, unit),
      value = tensors[result][state.row][unit];
    const rounded = Math.abs(list.reduce((all, [, factor]) => all * factor, 1) - value) > 1e-3 * Math.abs(value);
    if (rounded) item.append(element("p", "The product of its two factors would round; the loss computes it in one formula:", "note"));
    else item.append(tiles(list, [shownName(result) + place(state.row, numbers[unit]), value]));
  }
  const shown = !known || known.fused ? backward.slice(1).filter((name) => names.has(name)) : [];
  item.append(...paragraphs(shown.map((name) => unitLine(column, unit, name))));
  return item;
}
function wayDown(column, unit) {
  const path = strongestPath(column, unit).reverse();
  const items = path.map((at, i) => arrival(at, path[i - 1])).filter(Boolean);
  return items.length ? [element("h4", "From the loss down to here"), element("ol", "", "path", items)] : [];
}

/* A button to the record of a quantity that the screen does not show yet. */
function later(name, text) {
  const at = data.steps.findIndex((step) => step.name === name);
  if (at <= state.step) return [];
  return [element("p", "", "", [button(`${text} (step ${at + 1})`, () => show(at))])];
}

function equationsOf(column, unit) {
  const { forward } = columns[column],
    names = knownNames();
  const known = forward.filter((name) => names.has(name)),
    half = forward.length / 2;
  const now = known.slice(known.length > half ? half : 0); // after the update, the network as it is then
  return paragraphs(now.map((name) => unitLine(column, unit, name)));
}

function unitChain(column, unit) {
  const of = columns[column],
    parts = [element("h3", unitName(column, unit) + rowName())];
  if (!column) {
    const number = `${shownName(of.output)}${place(state.row, of.units[unit])} = ${format(tensors[of.output][state.row][unit])}`;
    const gradient = of.backward.length ? [...wayDown(column, unit), ...later(of.backward[0], "Show its gradient")] : [];
    return [...parts, element("p", number), ...gradient, element("p", "Inputs are data: the step does not change them."), ...aboutUnit(column, unit)];
  }
  parts.push(...equationsOf(column, unit));
  parts.push(...wayDown(column, unit));
  if (of.backward.length) parts.push(...later(of.backward.at(-1), "Show its gradient"));
  return [...parts, ...aboutUnit(column, unit)];
}

function edgeChain(column, unit, from) {
  const n = state.row,
    { weight, factors: known, backward, units: numbers, sums } = columns[column],
    { output } = columns[column - 1],
    names = knownNames();
  const at = weightPlace(column, unit, from),
    value = ofWeight(weight, tensors[weight.name], unit, from);
  const number = columns[column - 1].units[from] + 1,
    source = column > 1 ? `unit ${number} of layer ${column - 1}` : `input ${number}`;
  const parts = [element("h3", `Weight ${shownName(weight.name)}${at} = ${format(value)}, from ${source}`)];
  if (!weight.later.includes(weight.gradient)) return parts; // it does not learn
  if (!names.has(weight.gradient)) return [...parts, ...later(weight.gradient, "Show its gradient"), ...byHand(column, unit, from)];
  parts.push(...wayDown(column, unit));
  const input = [`${weight.local}${place(n, columns[column - 1].units[from])}`, tensors[output][n][from]];
  const result = backward.at(-1),
    delta = tensors[result][n][unit];
  const above = program || !known || known.fused ? [[shownName(result) + place(n, numbers[unit]), delta]] : factors(column, unit);
  const total = ofWeight(weight, tensors[weight.gradient], unit, from);
  const name = shownName(weight.gradient) + at;
  if (data.count === 1) parts.push(tiles([...above, input], [name, total]));
  else {
    parts.push(tiles([...above, input], [`row ${n + 1}'s share`, delta * tensors[output][n][from]]));
    const line = program ? elementLine(weight.gradient, weightIndex(column, unit, from)) : ofWeight(weight, sums, unit, from);
    parts.push(...paragraphs([line, program ? mostOfRows(weight, weightIndex(column, unit, from)) : ""]));
  }
  const updated = weight.later.find((name) => name !== weight.gradient);
  if (program) parts.push(element("p", whyOf(weight, updated, weightIndex(column, unit, from))));
  if (updated && names.has(updated) && program)
    parts.push(...paragraphs([elementLine(updated, weightIndex(column, unit, from))]));
  return [...parts, ...byHand(column, unit, from)];
}

/* The row that adds most to a weight's gradient. */
function mostOfRows({ gradient }, at) {
  const shares = sharesOfRows(program.trees[gradient], at.length > 1 ? at[0] : 0, at.at(-1)),
    sizes = shares.map(Math.abs),
    most = sizes.indexOf(Math.max(...sizes));
  return sizes[most] > 0 ? `Row ${most + 1} adds the most to it, ${format(shares[most])}.` : "";
}

/* What the sign of a weight's gradient says, and what the step does. */
function whyOf(weight, updated, at) {
  const number = (name) => entry(training.values[name], at.length > 1 ? at[0] : 0, at.at(-1));
  const name = shownName(weight.name) + place(...at),
    gradient = number(weight.gradient),
    change = number(updated) - number(weight.name);
  if (gradient === 0) return `${shownName(weight.gradient)}${place(...at)} is 0: a small change of ${name} does not change the loss.`;
  const step = change > 0 ? "makes it larger" : change < 0 ? "makes it smaller" : "does not change it";
  const sign = gradient < 0 ? ["negative", "lower"] : ["positive", "raise"];
  return `${shownName(weight.gradient)}${place(...at)} is ${sign[0]}: a larger ${name} would ${sign[1]} the loss. The step ${step}.`;
}

function lossChain() {
  const [first, again] = data.losses,
    names = knownNames(),
    parts = [element("h3", "The loss: how wrong the answers are")];
  for (const name of [first, again].filter((name) => names.has(name)))
    parts.push(element("p", program ? elementLine(name, [0]) : `${shownName(name)} = ${format(tensors[name])}`));
  const last = columns.at(-1);
  last.units.forEach((number, unit) => {
    const at = place(state.row, number),
      answer = names.has(last.output) ? format(tensors[last.output][state.row][unit]) : "not computed yet";
    const target = `${shownName(data.target)}${at} = ${format(tensors[data.target][state.row][unit])}`;
    parts.push(element("p", `${shownName(last.output)}${at} = ${answer}, and the target is ${target}`));
  });
  return [...parts, ...later(first, "Show the loss")];
}

function showChain() {
  const box = byId("chain"),
    focused = document.activeElement?.id;
  box.classList.toggle("hint", !state.chosen);
  box.classList.toggle("pinned", state.pinned);
  if (!state.chosen) {
    box.replaceChildren(
      element("h3", "Follow a number"),
      element("p", "Click a unit, a weight or the loss, or press Enter on it: it stays here, with the way from the loss to it."),
    );
    return;
  }
  const { column, unit, from } = state.chosen;
  const parts = state.chosen.loss ? lossChain() : from === undefined ? unitChain(column, unit) : edgeChain(column, unit, from);
  if (state.pinned) parts[0].append(button("let go", unpin));
  box.replaceChildren(...parts);
  const shown = box.querySelector(".plot");
  if (shown) drawUnit(shown, state.chosen);
  if (focused) byId(focused)?.focus();
}
