/* The training in this page: what is given at each step, its learning rate and loss, and all numbers of the step on the
   screen. */
const MOST_STEPS = 20000,
  FLAT = 1e-7; // a gradient and a change of a weight so small change nothing that is seen
const training = program && begun();

function begun() {
  const given = Object.fromEntries(Object.entries(program.given).map(([name, lists]) => [name, fromLists(lists)]));
  return { steps: [{ given, rate: program.rate, loss: null }], at: 0, changed: false, values: null };
}

/* All numbers of a step, or those of some stages. */
function computeStep(given, rate, stages = null) {
  const values = { [program.rate_name]: scalar(rate), ...given };
  for (const [name, value] of Object.entries(program.constants)) values[name] = scalar(value);
  for (const [name, same] of Object.entries(program.unchanged)) values[name] = given[same];
  for (const { name, stage } of data.steps)
    if (!stages || stages.includes(stage)) values[name] = valueOf(program.computed[name] ?? program.trees[name], values);
  return values;
}
const forwardOf = (given, stages = ["forward", "loss"]) => computeStep(given, training.steps[training.at].rate, stages);

/* The loss of a step, what is given at the one after it, which is the step `number`, and why there is no use in that one. */
function following(step, number) {
  const values = computeStep(step.given, step.rate, ["forward", "loss", "backward", "update"]),
    loss = values[data.losses[0]].numbers[0];
  const small = ({ numbers }) => numbers.every((n) => Math.abs(n) < FLAT);
  const moved = ([name, gradient]) => together((a, b) => a - b, values[program.next[name]], values[name]);
  const flat = Object.entries(program.gradients).every((pair) => small(values[pair[1]]) && small(moved(pair)));
  const why = !Number.isFinite(loss)
    ? "The loss is not finite: the learning rate is too large."
    : flat
      ? Object.keys(program.gradients).length
        ? "The gradient is almost 0: the step changes almost nothing."
        : "All parameters are frozen: no step changes them."
      : "";
  const given = { ...step.given };
  for (const [name, after] of Object.entries(program.next)) given[name] = values[after];
  for (const [name, how] of Object.entries(program.drawn)) given[name] = drawnMask(given[name], how, number);
  for (const name of program.counters) given[name] = scalar(step.given[name].numbers[0] + 1);
  return { loss, given, why };
}

/* One more step after the last one. False where there is nothing to go on with. */
function takeStep() {
  const last = training.steps.at(-1),
    { loss, given, why } = following(last, training.steps.length);
  last.loss = loss;
  training.why = why || (training.steps.length > MOST_STEPS ? `The page holds ${MOST_STEPS} steps.` : "");
  if (training.why) return false;
  training.steps.push({ given, rate: last.rate, loss: null });
  return true;
}

/* L after so many steps from the one on the screen, with another learning rate. */
function lossAfter(count, rate) {
  let step = { given: training.steps[training.at].given, rate };
  for (let i = 1; i <= count; i += 1) {
    const { given, why } = following(step, training.at + i);
    if (why) break;
    step = { given, rate };
  }
  return forwardOf(step.given)[data.losses[0]].numbers[0];
}

/* Another mask of a dropout for each step; the same one whenever the page comes to that step. */
function drawnMask({ rows, columns: wide }, [share, alike], step) {
  let bits = step * 0x9e3779b1;
  const uniform = () => {
    bits = (bits + 0x6d2b79f5) | 0;
    let mixed = Math.imul(bits ^ (bits >>> 15), 1 | bits);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const drawn = Array.from({ length: (rows * wide) / alike }, () => (uniform() < share ? 0 : 1 / (1 - share)));
  return matrix(rows, wide, Float64Array.from({ length: rows * wide }, (_, i) => drawn[Math.floor(i / alike)]));
}

function changedAt({ rows, columns: wide, numbers }, row, column, value) {
  const changed = numbers.slice();
  changed[row * wide + column] = value;
  return matrix(rows, wide, changed);
}

/* What a number may be: of a target what the loss takes. */
const boundsOf = (name) => (name === data.target && data.domain) || [-Number.MAX_VALUE, Number.MAX_VALUE];

/* Another number in what is given; what came after it is forgotten. */
function edit(name, row, column, value) {
  const { given, rate } = training.steps[training.at],
    [low, high] = boundsOf(name);
  if (!(low <= value && value <= high)) return showNumbers();
  training.steps.length = training.at;
  training.steps.push({ given: { ...given, [name]: changedAt(given[name], row, column, value) }, rate, loss: null });
  Object.assign(training, { changed: true, why: "" });
  goTo(training.at);
  writeAddress();
}
function setRate(rate) {
  if (!(rate > 0 && Number.isFinite(rate))) return;
  const step = training.steps[training.at];
  training.steps.length = training.at + 1;
  Object.assign(training, { changed: training.changed || rate !== step.rate, why: "" });
  step.rate = rate;
  goTo(training.at);
  writeAddress();
}
function startAgain() {
  training.steps = begun().steps;
  Object.assign(training, { changed: false, why: "" });
  goTo(0);
  writeAddress();
}

/* Whether the screen shows the step that the page was made with. */
const atFirst = () => !program || (training.at === 0 && !training.changed);

/* Compute the numbers of a step of the training. */
function computeAt(at) {
  training.at = at;
  training.values = computeStep(training.steps[at].given, training.steps[at].rate);
  training.steps[at].loss = training.values[data.losses[0]].numbers[0];
  if (atFirst() && data.tensors) ({ tensors, slopes } = data);
  else drawnNumbers();
}
/* And show them. */
function goTo(at) {
  computeAt(at);
  refresh();
}

/* The numbers that are drawn, of all that are computed; null of what is not finite. */
function drawnNumbers() {
  const { values } = training,
    found = {};
  const drawn = (value, row, unit) => {
    const number = entry(value, row, unit);
    return Number.isFinite(number) ? number : null;
  };
  const cut = (value, units) =>
    Array.from({ length: Math.min(value.rows, data.rows) }, (_, row) => units.map((unit) => drawn(value, row, unit)));
  slopes = {};
  columns.forEach(({ forward, backward, units: numbers, weight, bias }, column) => {
    for (const name of bias) found[name] = numbers.map((unit) => drawn(values[name], 0, unit));
    for (const name of [...forward, ...backward]) found[name] = cut(values[name], numbers);
    for (const name of forward)
      if (program.slopes[name]) slopes[name] = cut(valueOf(program.slopes[name], values), numbers);
    for (const name of weight ? [weight.name, ...weight.later] : [])
      found[name] = weight.matrix
        ? numbers.map((unit) => columns[column - 1].units.map((from) => drawn(values[name], unit, from)))
        : numbers.map((unit) => drawn(values[name], 0, unit));
  });
  found[data.target] = cut(values[data.target], columns.at(-1).units);
  for (const name of data.losses) found[name] = drawn(values[name], 0, 0);
  tensors = found;
}
