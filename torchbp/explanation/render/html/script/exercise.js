/* The exercise: the number or the shape of a record is hidden, the reader types it, and is told what is wrong. */
const CLOSE = 5e-3; // of a number: the reader types three digits or more

let examining = false;

function askedPlace() {
  const record = data.steps[state.step],
    value = training.values[record.name];
  return { record, value, at: chosenPlace(record) ?? largest(value, record) };
}

/* A tree with another part at the place that a path leads to. */
function withPart(tree, [first, ...more], part) {
  if (first === undefined) return part;
  return tree.map((child, i) => (i === first ? withPart(child, more, part) : child));
}

/* The right number and the wrong ones, with what is said of each. */
function answersKnown() {
  const { record, value, at } = askedPlace(),
    right = entry(value, ...at),
    wrong = (program.mistakes[record.name] ?? []).map(([says, path, part]) => ({
      says,
      number: entry(valueOf(withPart(program.trees[record.name], path, part), training.values), ...at),
    }));
  return [{ says: "Right.", number: right, right: true }, ...wrong.filter(({ number }) => number !== right)];
}

/* As many digits as tell the right number from the wrong ones. */
function digitsNeeded() {
  const [{ number: right }, ...wrong] = answersKnown();
  const tells = (digits) => wrong.every(({ number }) => number.toPrecision(digits) !== right.toPrecision(digits));
  return [3, 4, 5, 6, 7, 8].find(tells) ?? 3;
}

/* A loss is a number, and has no shape to ask for. */
const asksForShape = () => byId("kind").value === "shape" && !data.losses.includes(data.steps[state.step].name);

/* Ask for the number on the screen, if the exercise is on. */
function ask() {
  state.asking = examining;
  document.documentElement.classList.toggle("asking", state.asking);
  byId("question").hidden = !state.asking;
  if (!state.asking) return;
  const { record, at } = askedPlace(),
    ofShape = asksForShape();
  document.documentElement.classList.toggle("shape-asked", ofShape);
  byId("asked").textContent = ofShape
    ? `What is the shape of ${shownName(record.name)}? Such as 4×2, or 4 for a vector.`
    : `What is ${nameAt(record.name, ...at, training.values)}? ${digitsNeeded()} digits are enough.`;
  byId("guess").value = "";
  byId("verdict").textContent = "";
}
function reveal(text) {
  state.asking = false;
  document.documentElement.classList.remove("asking");
  byId("verdict").textContent = text;
  paintNetwork();
  showChain();
}

const isClose = (value, other) => Math.abs(value - other) <= CLOSE * Math.abs(other);

/* The same of a shape. A vector has one number. */
function verdictOfShape(guess) {
  const { record, value } = askedPlace(),
    { rows, columns: wide } = value;
  const vector = data.vectors.includes(record.name),
    right = vector ? [wide] : [rows, wide];
  const same = (other) => guess.length === other.length && guess.every((n, i) => n === other[i]);
  if (same(right)) return { right: true, says: "Right." };
  if (!vector && same([wide, rows])) return { says: "Rows and columns are exchanged." };
  if (record.derivative) return { says: "No. A gradient has the shape of what it is the derivative by." };
  if (record.has_rows && guess[0] !== rows) return { says: `No. It has a row for each of the ${rows} samples.` };
  if (record.has_rows) return { says: "No. It has a column for each unit of its layer." };
  return { says: "No. A step changes the numbers of a parameter, and not its shape." };
}

/* Whether a name stands in a tree. */
const uses = (tree, name) => tree === name || (Array.isArray(tree) && tree.some((part) => uses(part, name)));

/* What is wrong with a number, in a sentence. */
function verdict(guess) {
  const { record, value, at } = askedPlace(),
    { values } = training,
    right = entry(value, ...at);
  const distance = ({ number }) => Math.abs(guess - number);
  const nearest = answersKnown().reduce((best, other) => (distance(other) < distance(best) ? other : best));
  if (isClose(guess, nearest.number)) return nearest;
  if (value.rows > at[1] && value.columns > at[0] && isClose(guess, entry(value, at[1], at[0])))
    return { says: "This is the element with row and column exchanged: a matrix is transposed." };
  const { N } = program.constants;
  const divided = (record.derivative || data.losses.includes(record.name)) && uses(program.trees[data.losses[0]], "N");
  if (isClose(guess, right * N))
    return { says: `It is N times too large${divided ? ": a mean over the rows divides by N" : ""}.` };
  if (isClose(guess, right / N)) return { says: "It is divided by N once too often." };
  for (const name of [record.name, ...knownNames()]) {
    const { columns: wide, numbers } = values[name];
    const i = numbers.findIndex((number) => number !== 0 && isClose(guess, number));
    if (i >= 0) return { says: `This is ${nameAt(name, Math.floor(i / wide), i % wide, values)}.` };
  }
  const near = Math.abs(guess - right) < 0.1 * Math.abs(right);
  return { says: near ? "Almost: the digits are not right." : "No. The equation below says what to multiply and to add." };
}

function questionControls() {
  if (!program) return;
  byId("examine").hidden = false;
  byId("examine").addEventListener("click", () => {
    examining = !examining;
    byId("examine").setAttribute("aria-pressed", examining);
    show(state.step);
  });
  byId("question").addEventListener("submit", (event) => {
    event.preventDefault();
    const numbers = byId("guess").value.replaceAll("−", "-").split(/[^-+.\de]+/).filter(Boolean).map(Number);
    if (!numbers.length || !numbers.every(Number.isFinite)) return;
    const { right, says } = asksForShape() ? verdictOfShape(numbers) : verdict(numbers[0]);
    if (right) reveal(says);
    else byId("verdict").textContent = says;
  });
  byId("kind").addEventListener("change", ask);
  byId("reveal").addEventListener("click", () => reveal(""));
}
