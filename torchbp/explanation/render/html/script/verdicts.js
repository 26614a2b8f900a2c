/* What is wrong with an answer: the mistake that gives it, in a sentence. */
const CLOSE = 5e-3, // of a number: the reader types three digits or more
  EXACT = 1e-6, // of a formula's numbers
  WRONG_SIGN = "The sign is wrong.";

const isClose = (value, other, share = CLOSE) => Math.abs(value - other) <= share * Math.abs(other);

/* A tree with another part at the place that a path leads to. */
function withPart(tree, [first, ...more], part) {
  if (first === undefined) return part;
  return tree.map((child, i) => (i === first ? withPart(child, more, part) : child));
}
const withName = (tree, name, other) =>
  tree === name ? other : Array.isArray(tree) ? tree.map((part) => withName(part, name, other)) : tree;

/* Whether a name stands in a tree. */
const uses = (tree, name) => tree === name || (Array.isArray(tree) && tree.some((part) => uses(part, name)));

/* The names of all that is known before the record. */
function namesBefore({ name }) {
  const computed = data.steps.map((step) => step.name);
  const { given, constants, rate_name: rate } = program;
  return [...Object.keys(given), ...Object.keys(constants), rate, ...computed.slice(0, computed.indexOf(name))];
}

/* The nodes of a tree with something under them, each before those; a mistake names them by their numbers, §0. */
const nodesOf = (tree) => (Array.isArray(tree) ? [tree, ...tree.flatMap(nodesOf)] : []);
const withNodes = (part, nodes) =>
  Array.isArray(part) ? part.map((inside) => withNodes(inside, nodes)) : part[0] === "§" ? nodes[part.slice(1)] : part;

/* [what is said, the value] of each usual mistake in a record's equation. */
function wrongValues({ name }) {
  const { values } = training,
    tree = program.trees[name],
    nodes = nodesOf(tree);
  return (program.mistakes[name] ?? []).map(([says, path, part]) => [
    program.says[says],
    valueOf(withPart(tree, path, withNodes(part, nodes)), values),
  ]);
}

/* The same of one quantity that stands where another of its shape belongs. */
function* wrongQuantities(record, tree = program.trees[record.name]) {
  const { values } = training,
    fits = (a, b) => values[a]?.rows === values[b].rows && values[a].columns === values[b].columns;
  const known = namesBefore(record).filter(isTensor);
  for (const name of known.filter((known) => uses(tree, known)))
    for (const other of known.filter((other) => other !== name && fits(other, name)))
      yield [name, other, valueOf(withName(tree, name, other), values)];
}
const wrongQuantity = (name, other) => `${shownName(other)} stands where ${shownName(name)} belongs.`;

/* What each row adds to a sum over the rows, at a place; [] where there is none. */
function sharesOfRows(tree, row, column) {
  const [kind, left, right] = tree,
    { values } = training;
  if (kind === "SumOver" && right) {
    const of = valueOf(left, values);
    if (of.rows !== data.count) return []; // several vectors in a row
    return Array.from({ length: of.rows }, (_, n) => entry(of, n, column));
  }
  if (kind !== "MatrixProduct" || left[0] !== "Transpose") return [];
  const [dz, x] = [valueOf(left[1], values), valueOf(right, values)];
  if (x.rows !== data.count) return [];
  return Array.from({ length: x.rows }, (_, n) => entry(dz, n, row) * entry(x, n, column));
}

/* The right number and the wrong ones, with what is said of each. */
function answersKnown() {
  const { record, value, at } = askedPlace(),
    right = entry(value, ...at),
    wrong = wrongValues(record).map(([says, found]) => ({ says, number: entry(found, ...at) }));
  return [{ says: "Right.", number: right, right: true }, { says: WRONG_SIGN, number: -right }, ...wrong.filter(({ number }) => number !== right)];
}

/* As many digits as tell the right number from the wrong ones. */
function digitsNeeded() {
  const [{ number: right }, ...wrong] = answersKnown();
  const tells = (digits) => wrong.every(({ number }) => number.toPrecision(digits) !== right.toPrecision(digits));
  return [3, 4, 5, 6, 7, 8].find(tells) ?? 3;
}

/* The constant that the right value was multiplied by, in a sentence; "" where there is none. `is(times)` says whether
   the answer is so many times the right value. */
function constantIn(record, is) {
  const { N } = program.constants;
  const divided = (record.derivative || data.losses.includes(record.name)) && uses(program.trees[data.losses[0]], "N");
  if (is(-1)) return WRONG_SIGN;
  if (N !== 1 && is(N)) return `It is N times too large${divided ? ": a mean over the rows divides by N" : ""}.`;
  if (N !== 1 && is(1 / N)) return "It is divided by N once too often, or a mean stands where a sum belongs.";
  if (is(2)) return "It is twice too large.";
  return is(0.5) ? "It is half of the right value: a factor 2 is missing." : "";
}

/* What is wrong with a number. */
function verdict(guess) {
  const { record, value, at } = askedPlace(),
    { values } = training,
    right = entry(value, ...at);
  const distance = ({ number }) => Math.abs(guess - number);
  const nearest = answersKnown().reduce((best, other) => (distance(other) < distance(best) ? other : best));
  if (isClose(guess, nearest.number)) return nearest;
  if (!data.shapes[record.name] && value.rows > at[1] && value.columns > at[0] && isClose(guess, entry(value, at[1], at[0])))
    return { says: "This is the element with row and column exchanged: a matrix is transposed." };
  const constant = constantIn(record, (times) => isClose(guess, right * times));
  if (constant) return { says: constant };
  for (const [name, other, found] of wrongQuantities(record))
    if (isClose(guess, entry(found, ...at))) return { says: wrongQuantity(name, other) };
  for (const [n, share] of sharesOfRows(program.trees[record.name], ...at).entries()) {
    if (isClose(guess, share)) return { says: `This is what row ${n + 1} adds, and not the sum over the rows.` };
    if (isClose(guess, right - share)) return { says: `Row ${n + 1} is left out of the sum over the rows.` };
  }
  for (const name of [record.name, ...knownNames()]) {
    const { columns: wide, numbers } = values[name];
    const i = numbers.findIndex((number) => number !== 0 && isClose(guess, number));
    if (i >= 0) return { says: `This is ${nameAt(name, Math.floor(i / wide), i % wide, values)}.` };
  }
  const near = Math.abs(guess - right) < 0.1 * Math.abs(right);
  return { says: near ? "Almost: the digits are not right." : "No. The equation below says what to multiply and to add." };
}

/* The same of a shape. A vector has one number. */
function verdictOfShape(guess) {
  const { record, value } = askedPlace(),
    { rows, columns: wide } = value;
  const vector = data.vectors.includes(record.name),
    right = vector ? [wide] : (data.shapes[record.name] ?? [rows, wide]);
  const same = (other) => guess.length === other.length && guess.every((n, i) => n === other[i]);
  if (same(right)) return { right: true, says: "Right." };
  if (right.length === 2 && same([wide, rows])) return { says: "Rows and columns are exchanged." };
  if (record.derivative) return { says: "No. A gradient has the shape of what it is the derivative by." };
  if (record.has_rows && guess[0] !== rows) return { says: `No. It has a row for each of the ${rows} samples.` };
  if (record.has_rows) return { says: "No. It has a column for each unit of its layer." };
  return { says: "No. A step changes the numbers of a parameter, and not its shape." };
}

const plainly = (text) => text.replaceAll("-", "−").replaceAll(" ", "");
const sizeOf = ({ rows, columns: wide }) => `${rows}×${wide}`;
const sameNumbers = (a, b, times = 1) =>
  a.rows === b.rows && a.columns === b.columns && a.numbers.every((n, i) => isClose(n, times * b.numbers[i], EXACT));

/* The number of the layer of a quantity, and of what learns that of its gradient. */
const layerOf = (name) => data.steps.find((step) => step.name === (program.gradients[name] ?? name))?.number;

/* The same of a part of the formula: what the whole formula gives with it. */
function verdictOfPart(text) {
  const { record, value: right } = askedPlace(),
    { path, right: wanted, wrong } = gapAsked();
  const filled = (part) => valueOf(withPart(program.trees[record.name], path, part), training.values);
  let part = null,
    value = null;
  try {
    part = formulaOf(text, namesBefore(record));
    value = filled(part);
  } catch (error) {
    return { says: error.message };
  }
  if (sameNumbers(value, right))
    return { right: true, says: plainly(text) === plainly(wanted) ? "Right." : `Right: it gives the same as ${wanted}.` };
  if (sizeOf(value) === sizeOf({ rows: right.columns, columns: right.rows }) && sizeOf(value) !== sizeOf(right))
    return { says: `This gives ${sizeOf(value)} and not ${sizeOf(right)}: it is the transpose.` };
  if (sizeOf(value) !== sizeOf(right)) return { says: `This gives ${sizeOf(value)} numbers, and not ${sizeOf(right)}.` };
  if (wrong.get(text)) return { says: wrong.get(text) };
  if (sameNumbers(filled(["Negative", part]), right)) return { says: WRONG_SIGN };
  const known = wrongValues(record).find(([, other]) => sameNumbers(value, other));
  if (known) return { says: known[0] };
  const constant = constantIn(record, (times) => sameNumbers(value, right, times));
  if (constant) return { says: constant };
  for (const [name, other] of wrongQuantities(record, part))
    if (sameNumbers(filled(withName(part, name, other)), right)) {
      const [layer, wanted] = [name, other].map(layerOf);
      const far = layer && wanted && layer !== wanted ? `: it is of layer ${layer}` : "";
      return { says: `${shownName(name)} does not belong there${far}.` };
    }
  return { says: "No. Follow the chain rule: what is this the derivative by, and what did it go through?" };
}
