/* One element of an equation with its numbers: Z1[1,2] = 0.5·(−0.2) + 0.1 = 0. */
const MOST_TERMS = 6; // of a long sum, the largest
const SUM = 0,
  FACTOR = 1,
  ATOM = 2; // how strongly a text holds together
const RAISED = { 2: "²", 3: "³" };

const leaf = (number, digits) => {
  const value = Number.isFinite(number) ? Number(number.toPrecision(digits)) : number;
  return { text: format(number, digits), value, strength: number < 0 ? SUM : ATOM };
};
const held = (part, strength) => (part.strength < strength ? `(${part.text})` : part.text);

/* A sum of parts; of many the largest, and the rest in one number. */
function sumOfParts(parts, digits) {
  let shown = parts,
    rest = [];
  if (parts.length > MOST_TERMS) {
    const sizes = parts.map((part) => Math.abs(part.value)).sort((a, b) => b - a);
    shown = [];
    for (const part of parts)
      (Math.abs(part.value) >= sizes[MOST_TERMS - 2] && shown.length < MOST_TERMS - 1 ? shown : rest).push(part);
  }
  const texts = shown.map((part, i) => {
    if (part.negated) return `${i ? " − " : "−"}${held(part.negated, FACTOR)}`;
    return `${i ? " + " : ""}${i && part.strength === SUM ? `(${part.text})` : part.text}`;
  });
  let value = shown.reduce((sum, part) => sum + part.value, 0);
  if (rest.length) {
    const more = leaf(
      rest.reduce((sum, part) => sum + part.value, 0),
      digits,
    );
    texts.push(` + [${rest.length} more: ${more.text}]`);
    value += more.value;
  }
  return { text: texts.join(""), value, strength: parts.length > 1 ? SUM : parts[0].strength };
}
const productOf = (parts) => ({
  text: parts.map((part) => held(part, FACTOR)).join("·"),
  value: parts.reduce((all, part) => all * part.value, 1),
  strength: FACTOR,
});

/* The element at (row, column) of a tree, as a text and the number that the text gives. */
function written(tree, row, column, digits, values) {
  const at = (child, r = row, c = column) => written(child, r, c, digits, values);
  if (typeof tree === "number") return { text: format(tree, 12), value: tree, strength: tree < 0 ? SUM : ATOM };
  if (typeof tree === "string") return leaf(entry(values[tree], row, column), digits);
  const [kind, first, second, third] = tree;
  switch (kind) {
    case "Negative": {
      const inside = at(first);
      return { text: `−${held(inside, FACTOR)}`, value: -inside.value, strength: SUM, negated: inside };
    }
    case "Sum":
      return sumOfParts(first.flatMap((term) => (term[0] === "MatrixProduct" ? terms(term, row, column, digits, values) : [at(term)])), digits);
    case "MatrixProduct":
      return sumOfParts(terms(tree, row, column, digits, values), digits);
    case "Product":
      return productOf(first.map((factor) => at(factor)));
    case "Quotient": {
      const above = at(first),
        below = at(second);
      return { text: `${held(above, FACTOR)}/${held(below, ATOM)}`, value: above.value / below.value, strength: FACTOR };
    }
    case "Power": {
      const base = at(first),
        exponent = at(second);
      const value = base.value ** exponent.value;
      return { text: `${held(base, ATOM)}${RAISED[exponent.text] ?? `^${held(exponent, ATOM)}`}`, value, strength: ATOM };
    }
    case "Transpose":
      return at(first, column, row);
    case "SumOver": {
      const inside = valueOf(first, values),
        parts = [];
      for (let r = 0; r < inside.rows; r += 1)
        for (let c = second ? column : 0; c < (second ? column + 1 : inside.columns); c += 1) parts.push(at(first, r, c));
      return sumOfParts(parts, digits);
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
  return Array.from({ length: a.columns }, (_, i) =>
    productOf([leaf(entry(a, row, i), digits), leaf(entry(b, i, column), digits)]),
  );
}

/* With as many digits as make the line true. */
function lineOf(name, row, column, values) {
  const { [name]: tree } = program.trees,
    value = entry(values[name], row, column);
  const of = [program.computed[name], tree].filter(Boolean);
  for (const digits of [4, 6, 9, 12, 16])
    for (const side of of.toReversed()) {
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
  return shownName(name) + (data.vectors.includes(name) ? place(column) : place(row, column));
}
