"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { columns, tensors, slopes } = data;
const shownName = (name) => data.names[name];
const state = { step: 0, row: 0, chosen: null };

const minus = (text) => text.replaceAll("-", "−");

function format(value, digits = 4) {
  if (value === null || value === undefined) return "not finite";
  if (value === 0) return "0";
  const size = Math.abs(value);
  // three digits or two are for a box, where an exponent takes the room of some
  if (size < 1e-3 || size >= 1e5) return minus(value.toExponential(digits > 3 ? digits - 1 : digits - 2).replace("e+", "e"));
  return minus(String(Number(value.toPrecision(digits))));
}
function element(tag, text, kind, children = []) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}

const tile = (name, value, kind = "") =>
  element("span", "", `tile ${kind}`, [element("small", name), element("b", format(value))]);

/* Tiles whose product is the last one's value. */
function tiles(factors, result) {
  const parts = factors.flatMap(([name, value], i) => (i ? ["×", tile(name, value)] : [tile(name, value)]));
  return element("div", "", "tiles", [...parts, "=", tile(...result, "result")]);
}

const place = (...numbers) => `[${numbers.map((n) => n + 1).join(",")}]`;
const rowName = () => (data.count > 1 ? `, row ${state.row + 1}` : "");
const unitName = (column, unit) => {
  const { units, labels } = columns[column];
  const named = labels[unit] ? ` (${labels[unit]})` : "";
  return column ? `Unit ${units[unit] + 1} of layer ${column}${named}` : `Input ${units[unit] + 1}${named}`;
};

/* A weight between two columns: of a parameter with one number for each unit, each unit has one. */
const ofWeight = (weight, tensor, unit, from) => (weight.matrix ? tensor[unit][from] : tensor[unit]);
const weightPlace = (column, unit, from) => {
  const to = columns[column].units[unit];
  return columns[column].weight.matrix ? place(to, columns[column - 1].units[from]) : place(to);
};
const connected = (column, unit, from) => {
  const { weight, units } = columns[column];
  return Boolean(weight) && (weight.matrix || units[unit] === columns[column - 1].units[from]);
};

/* The factors of the derivative by a unit's Z: by its output, then the slope of each activation. */
function factors(column, unit) {
  const { first, slopes: names } = columns[column].factors,
    n = state.row;
  const list = [[shownName(first) + place(n, columns[column].units[unit]), tensors[first][n][unit]]];
  names.forEach(({ name, slope }) => list.push([name, slopes[slope][n][unit]]));
  return list;
}

function unitChain(column, unit) {
  const n = state.row,
    of = columns[column];
  const parts = [element("h3", unitName(column, unit) + rowName())];
  if (of.factors) {
    const { result } = of.factors;
    const total = [shownName(result) + place(n, of.units[unit]), tensors[result][n][unit]];
    parts.push(tiles(factors(column, unit), total));
  }
  return [...parts, ...of.lines[n][unit].map((line) => element("p", line))];
}

function edgeChain(column, unit, from) {
  const n = state.row,
    { weight, factors: known, units, sums } = columns[column],
    { output } = columns[column - 1];
  const at = weightPlace(column, unit, from),
    value = format(ofWeight(weight, tensors[weight.name], unit, from));
  const source = `${column > 1 ? `unit of layer ${column - 1}` : "input"} ${columns[column - 1].units[from] + 1}`;
  const parts = [element("h3", `Weight ${shownName(weight.name)}${at} = ${value}, from ${source}`)];
  if (!known) return parts;
  const input = [`${weight.local}${place(n, columns[column - 1].units[from])}`, tensors[output][n][from]];
  const { result, fused } = known,
    delta = tensors[result][n][unit];
  const list = fused ? [[shownName(result) + place(n, units[unit]), delta]] : factors(column, unit);
  if (data.count === 1) {
    const total = ofWeight(weight, tensors[weight.gradient], unit, from);
    parts.push(tiles([...list, input], [shownName(weight.gradient) + at, total]));
  } else {
    parts.push(tiles([...list, input], [`row ${n + 1}'s share`, delta * tensors[output][n][from]]));
    parts.push(element("p", ofWeight(weight, sums, unit, from)));
  }
  return parts;
}

function showChain() {
  const box = document.getElementById("chain");
  box.classList.toggle("hint", !state.chosen);
  if (!state.chosen) {
    box.replaceChildren(
      element("h3", "The chain of factors"),
      element(
        "p",
        "Point at a unit or a weight, tap it, or move to it with the keyboard, and see the factors of its gradient.",
      ),
    );
    return;
  }
  const { column, unit, from } = state.chosen;
  box.replaceChildren(...(from === undefined ? unitChain(column, unit) : edgeChain(column, unit, from)));
}
