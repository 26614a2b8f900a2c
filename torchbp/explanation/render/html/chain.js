"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { columns, tensors, slopes } = data;
const state = { step: 0, row: 0, chosen: null };

const d = (name) => `dL/d${name}`;
const nice = (name) => name.replace("dL/d", "∂L/∂");
const minus = (text) => text.replaceAll("-", "−");

function format(value, digits = 4) {
  if (value === null || value === undefined) return "not finite";
  if (value === 0) return "0";
  const size = Math.abs(value);
  // three digits or two are for a box, where an exponent takes the room of some
  if (size < 1e-3 || size >= 1e5) return minus(value.toExponential(digits > 3 ? digits - 1 : digits - 2).replace("e+", "e"));
  return minus(String(Number(value.toPrecision(digits))));
}
const bracketed = (value, digits) => (value < 0 ? `(${format(value, digits)})` : format(value, digits));

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

/* A sum of products: the largest three, what the others come to, a bias, and the total. Where they almost cancel they
   have more digits, so that the line is true as it is printed. */
function sum(name, terms, more, total, bias = null) {
  const order = terms
    .map((t, i) => i)
    .sort((i, j) => Math.abs(terms[j][0] * terms[j][1]) - Math.abs(terms[i][0] * terms[i][1]));
  const kept = new Set(order.slice(0, terms.length > 4 ? 3 : 4));
  const shown = terms.filter((_, i) => kept.has(i));
  const left = total - bias - shown.reduce((s, [a, b]) => s + a * b, 0);
  const count = terms.length - shown.length + more;
  const size = shown.reduce((s, [a, b]) => s + Math.abs(a * b), Math.abs(bias));
  const times = Math.min(Math.max(size / 8 / Math.abs(total), 1) || 1, 1e5); // 9 digits, which the numbers have
  const digits = 4 + Math.ceil(Math.log10(times));
  const texts = shown.map(([a, b]) => `${bracketed(a, digits)}·${bracketed(b, digits)}`);
  if (count) texts.push(`[${count} more: ${format(left, digits)}]`);
  if (bias !== null) texts.push(bracketed(bias, digits));
  return element("p", `${name} = ${texts.join(" + ")} = ${format(total)}`);
}

const place = (...numbers) => `[${numbers.map((n) => n + 1).join(",")}]`;
const rowName = () => (data.count > 1 ? `, row ${state.row + 1}` : "");
const output = (column) => columns[column].values.at(-1);
/* What the next layer takes: of the last layer, σ of the logits is part of the loss. */
const unitName = (column, unit) => {
  const { units, labels } = columns[column];
  const named = labels[unit] ? `: ${labels[unit]}` : "";
  return column ? `Unit ${units[unit] + 1} of layer ${column}${named}` : `Input ${units[unit] + 1}${named}`;
};

/* The factors of ∂L/∂Z at a unit: ∂L/∂A, then the slope of each activation. */
function factors(column, unit) {
  const [z, ...after] = columns[column].values;
  const n = state.row,
    at = place(n, columns[column].units[unit]);
  const names = [z, ...after].reverse();
  const list = [[nice(d(names[0])) + at, tensors[d(names[0])][n][unit]]];
  names.slice(0, -1).forEach((name, i) => list.push([`∂${name}/∂${names[i + 1]}`, slopes[name][n][unit]]));
  return list;
}

function unitChain(column, unit) {
  const n = state.row,
    here = columns[column],
    j = here.units[unit],
    parts = [];
  parts.push(element("h3", unitName(column, unit) + rowName()));
  if (column === 0) {
    for (const name of here.values)
      parts.push(element("p", `${name}${place(n, j)} = ${format(tensors[name][n][unit])}`));
    parts.push(element("p", "An input is given: it is not learnt."));
    return parts;
  }
  const z = here.values[0],
    at = place(n, j);
  parts.push(tiles(factors(column, unit), [nice(d(z)) + at, tensors[d(z)][n][unit]]));
  if (column === columns.length - 1) {
    if (data.fused)
      parts.push(element("p", `The loss takes ${nice(d(z))}${at} in its own form: exact, where the product may round.`));
  } else {
    const next = columns[column + 1],
      delta = tensors[d(next.values[0])][n],
      weights = tensors[next.weight];
    const terms = next.units.map((_, k) => [delta[k], weights[k][unit]]);
    const name = nice(d(output(column)));
    parts.push(
      sum(
        `${name}${at} = Σ ${nice(d(next.values[0]))} ${next.weight}`,
        terms,
        next.count - terms.length,
        tensors[d(output(column))][n][unit],
      ),
    );
  }
  const below = columns[column - 1],
    a = tensors[output(column - 1)][n],
    w = tensors[here.weight][unit];
  parts.push(
    sum(
      `${z}${at}`,
      below.units.map((_, i) => [w[i], a[i]]),
      below.count - below.units.length,
      tensors[z][n][unit],
      tensors[here.bias]?.[unit],
    ),
  );
  return parts;
}

function edgeChain(column, unit, from) {
  const n = state.row,
    here = columns[column],
    below = columns[column - 1];
  const z = here.values[0],
    a = output(column - 1),
    w = here.weight;
  const at = place(here.units[unit], below.units[from]),
    total = tensors[d(w)][unit][from];
  const input = [`∂${z}/∂${w} = ${a}${place(n, below.units[from])}`, tensors[a][n][from]];
  const delta = tensors[d(z)].map((row) => row[unit]);
  const last = column === columns.length - 1 && data.fused;
  const list = last ? [[nice(d(z)) + place(n, here.units[unit]), delta[n]]] : factors(column, unit);
  const parts = [
    element(
      "h3",
      `Weight ${w}${at} = ${format(tensors[w][unit][from])}, from ${
        unitName(column - 1, from)
          .toLowerCase()
          .split(":")[0]
      }`,
    ),
  ];
  if (data.count === 1) {
    parts.push(tiles([...list, input], [nice(d(w)) + at, total]));
  } else {
    const product = delta[n] * tensors[a][n][from];
    parts.push(tiles([...list, input], [`row ${n + 1}'s share`, product]));
    parts.push(
      sum(
        `${nice(d(w))}${at}`,
        delta.map((v, i) => [v, tensors[a][i][from]]),
        data.count - data.rows,
        total,
      ),
    );
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
