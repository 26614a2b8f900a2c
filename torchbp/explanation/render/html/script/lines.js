/* One element of an equation with its numbers: Z1[1,2] = 0.5·(−0.2) + 0.1 = 0. */
const MOST_TERMS = 6; // of a long sum, the largest
const SUM = 0,
  FACTOR = 1,
  ATOM = 2; // how strongly a text holds together
const WRITTEN = {}, // how the nodes in places.js are written, which is there where an equation has one
  TWO_CHILDREN = ["Quotient", "Power", "MatrixProduct", "Beside", "Contraction"];
const RAISED = { 2: "²", 3: "³" };

const leaf = (number, digits) => {
  const value = Number.isFinite(number) ? Number(number.toPrecision(digits)) : number;
  return { text: format(number, digits), value, strength: number < 0 ? SUM : ATOM };
};
const held = (part, strength) => (part.strength < strength ? `(${part.text})` : part.text);

/* Of many parts the largest, and the rest in one number. */
function shortened(parts, digits) {
  if (parts.length <= MOST_TERMS) return parts;
  const sizes = parts.map((part) => Math.abs(part.value)).sort((a, b) => b - a),
    shown = [],
    rest = [];
  for (const part of parts)
    (Math.abs(part.value) >= sizes[MOST_TERMS - 2] && shown.length < MOST_TERMS - 1 ? shown : rest).push(part);
  const { text, value } = leaf(
    rest.reduce((sum, part) => sum + part.value, 0),
    digits,
  );
  return [...shown, { text: `[${rest.length} more: ${text}]`, value, strength: ATOM }];
}
function sumOf(parts) {
  if (!parts.length) return { text: "0", value: 0, strength: ATOM };
  if (parts.length === 1) return parts[0];
  const texts = parts.map((part, i) => {
    if (part.negated) return `${i ? " − " : "−"}${held(part.negated, FACTOR)}`;
    return `${i ? " + " : ""}${i ? held(part, FACTOR) : part.text}`;
  });
  return { text: texts.join(""), value: parts.reduce((sum, part) => sum + part.value, 0), strength: SUM };
}
const productOf = (parts) => ({
  text: parts.map((part) => held(part, FACTOR)).join("·"),
  value: parts.reduce((all, part) => all * part.value, 1),
  strength: FACTOR,
});

/* The trees under a node; its other fields are numbers of places, a relation or an axis. */
function childrenOf([kind, first, second, third]) {
  if (kind === "Sum" || kind === "Product") return first;
  if (kind === "Call") return second;
  if (kind === "Indicator") return [first, third];
  return TWO_CHILDREN.includes(kind) ? [first, second] : [first];
}

/* Whether a tree is of nothing but the target and constants, which no formula computes: a factor of 1 is left out of it,
   and a term with a factor of 0. */
function isGiven(tree) {
  if (typeof tree === "number") return false;
  if (typeof tree === "string") return tree === data.target || tree in program.constants;
  const inside = childrenOf(tree);
  return inside.some(isGiven) && inside.every((child) => typeof child === "number" || isGiven(child));
}
function vanishes(tree, row, column, values) {
  if (!Array.isArray(tree)) return false;
  const [kind, inside] = tree;
  if (kind === "Negative") return vanishes(inside, row, column, values);
  return kind === "Product" && inside.some((factor) => isGiven(factor) && entry(valueOf(factor, values), row, column) === 0);
}

/* The element at (row, column) of a tree, as a text and the number that the text gives. */
function written(tree, row, column, digits, values) {
  const at = (child, r = row, c = column) => written(child, r, c, digits, values);
  if (typeof tree === "number") return { text: format(tree, 12), value: tree, strength: tree < 0 ? SUM : ATOM };
  if (typeof tree === "string") return leaf(entry(values[tree], row, column), digits);
  const [kind, first, second, third] = tree;
  if (WRITTEN[kind]) return WRITTEN[kind](tree, row, column, values, at, digits);
  switch (kind) {
    case "Negative": {
      const inside = at(first);
      return { text: `−${held(inside, FACTOR)}`, value: -inside.value, strength: SUM, negated: inside };
    }
    case "Sum":
      return sumOf(first.filter((term) => !vanishes(term, row, column, values)).flatMap((term) => (term[0] === "MatrixProduct" ? terms(term, row, column, digits, values) : [at(term)])));
    case "MatrixProduct":
      return sumOf(terms(tree, row, column, digits, values));
    case "Product": {
      const shown = first.filter((factor) => !isGiven(factor) || entry(valueOf(factor, values), row, column) !== 1);
      return shown.length ? productOf(shown.map((factor) => at(factor))) : at(1);
    }
    case "Quotient": {
      const above = at(first),
        below = at(second);
      if (isGiven(second) && below.value === 1) return above;
      return { text: `${held(above, FACTOR)}/${held(below, ATOM)}`, value: above.value / below.value, strength: FACTOR };
    }
    case "Power": {
      const base = at(first),
        exponent = at(second);
      const value = power(base.value, exponent.value);
      return { text: `${held(base, ATOM)}${RAISED[exponent.text] ?? `^${held(exponent, ATOM)}`}`, value, strength: ATOM };
    }
    case "Transpose":
      return at(first, column, row);
    case "SumOfRow": {
      const wide = valueOf(first, values).columns;
      return sumOf(shortened(Array.from({ length: wide }, (_, unit) => at(first, row, unit)), digits));
    }
    case "SumOver": {
      const inside = valueOf(first, values),
        parts = [];
      for (let r = 0; r < inside.rows; r += 1)
        for (let c = second ? column : 0; c < (second ? column + 1 : inside.columns); c += 1) parts.push(at(first, r, c));
      return sumOf(shortened(parts, digits));
    }
    case "Indicator": {
      const left = at(first),
        right = at(third);
      const value = Number(RELATIONS[second](left.value, right.value));
      return { text: `[${left.text} ${second} ${right.text}]`, value, strength: ATOM };
    }
    default: {
      const inside = second.map((child) => at(child));
      const compute = FUNCTIONS[first] ?? FUNCTIONS_OF_TWO[first];
      const text = `${first}(${inside.map((part) => part.text).join(", ")})`;
      return { text, value: compute(...inside.map((part) => part.value)), strength: ATOM };
    }
  }
}

/* The products that an element of a matrix product adds up. */
function terms([, left, right], row, column, digits, values) {
  const [a, b] = [valueOf(left, values), valueOf(right, values)];
  const all = Array.from({ length: a.columns }, (_, i) =>
    productOf([leaf(entry(a, row, i), digits), leaf(entry(b, i, column), digits)]),
  );
  return shortened(all, digits);
}

/* With as many digits as make the line true; where the equation rounds, by what its numbers are computed by. */
function lineOf(name, row, column, values) {
  const value = entry(values[name], row, column);
  for (const side of [program.trees[name], program.computed[name]].filter(Boolean))
    for (const digits of [4, 6, 9, 12, 16]) {
      const found = written(side, row, column, digits, values);
      if (Math.abs(found.value - value) <= 5e-4 * Math.abs(value)) return ending(name, row, column, found, value, values);
    }
  return `${nameAt(name, row, column, values)} = ${format(value)}`;
}
function ending(name, row, column, found, value, values) {
  const result = format(value);
  return [nameAt(name, row, column, values), found.text, ...(found.text === result ? [] : [result])].join(" = ");
}
function nameAt(name, row, column, values) {
  const { rows, columns: wide } = values[name];
  if (rows * wide === 1 && data.losses.includes(name)) return shownName(name);
  return shownName(name) + place(...indices(name, row, column));
}
/* Those of an element of a value; a row of a kernel's value holds the numbers of all its other dimensions. */
function indices(name, row, column) {
  if (data.vectors.includes(name)) return [column];
  const found = [],
    [, ...inside] = data.shapes[name] ?? [0, Infinity];
  let left = column;
  for (const size of inside.reverse()) {
    found.unshift(left % size);
    left = Math.floor(left / size);
  }
  return [row, ...found];
}
