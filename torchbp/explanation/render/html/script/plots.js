/* The loss of each step, and what the network answers: for one input a curve, for two inputs a map. */
const POINTS = 300,
  SIDE = 48; // points of a curve, and of each side of the map

const plot = (box, height, label) => {
  const width = box.clientWidth;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  box.replaceChildren(svg);
  return { svg, width, height, left: 62, right: width - 12, top: 14, bottom: height - 24 };
};
const pathOf = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/* A scale from [low, high] to pixels. */
const scaled = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

function axes({ svg, left, right, top, bottom, height }, low, high, first, last) {
  draw("path", { class: "axis", d: `M${left} ${top - 6}V${bottom}H${right}`, fill: "none" }, svg);
  draw("text", { x: left - 6, y: top + 4, "text-anchor": "end" }, svg, format(high, 3));
  draw("text", { x: left - 6, y: bottom, "text-anchor": "end" }, svg, format(low, 3));
  draw("text", { x: left, y: height - 6 }, svg, first);
  draw("text", { x: right, y: height - 6, "text-anchor": "end" }, svg, last);
}

function drawLosses() {
  const { steps, at } = training,
    known = steps.map(({ loss }, i) => [i, loss]).filter(([, loss]) => Number.isFinite(loss) && loss !== null);
  const every = Math.max(1, Math.ceil(known.length / POINTS)),
    shown = known.filter(([i], n) => n % every === 0 || i === at || n === known.length - 1);
  const box = plot(byId("losses"), 150, "The loss after each step");
  const losses = shown.map(([, loss]) => loss),
    low = Math.min(...losses, 0),
    high = Math.max(...losses);
  const x = scaled(0, Math.max(steps.length - 1, 1), box.left, box.right),
    y = scaled(low, high, box.bottom, box.top);
  axes(box, low, high, "step 0", `step ${Math.max(steps.length - 1, 1)}`);
  draw("path", { class: "line", d: pathOf(shown.map(([i, loss]) => [x(i), y(loss)])) }, box.svg);
  if (Number.isFinite(steps[at].loss)) draw("circle", { class: "here", r: 6, cx: x(at), cy: y(steps[at].loss) }, box.svg);
}

/* What the network computes forward of other inputs; null where that depends on the rows beside them. */
function forwardTo(inputs) {
  rowsAreApart ??= areRowsApart();
  return rowsAreApart ? forwardOf({ ...training.steps[training.at].given, [program.inputs[0]]: inputs }, ["forward"]) : null;
}

/* Whether a row's answer is the same beside other rows: not where a number is given for each row, as of a mask, and not of
   a batch norm or an attention head. */
let rowsAreApart = null;
function areRowsApart() {
  const { given } = training.steps[0],
    [name] = program.inputs,
    x = toLists(given[name]);
  const fixed = Object.keys(given).some((other) => other in program.drawn || (x.length > 1 && !mayDiffer(other, name) && given[other].rows === x.length));
  if (fixed) return false;
  const answers = (lists) => forwardOf({ ...given, [name]: fromLists(lists) }, ["forward"])[program.answer].numbers;
  const more = answers([...x, ...x.map((row) => row.map((n) => n + 1))]);
  return answers(x).every((n, i) => !(Math.abs(n - more[i]) > 1e-9 * Math.abs(n)));
}
const mayDiffer = (name, input) => name === input || name === data.target || name in program.gradients;

/* From the lowest input to the highest, and a quarter more on both sides. */
function reach(column) {
  const { given } = training.steps[0],
    x = given[program.inputs[0]];
  const numbers = Array.from({ length: x.rows }, (_, row) => entry(x, row, column));
  const low = Math.min(...numbers),
    high = Math.max(...numbers),
    more = (high - low) / 4 || 1;
  return [low - more, high + more];
}

/* Inputs all over a plot, and what is computed of them at the step on the screen, once for all plots of it. */
let sampled = null;
function samples() {
  if (sampled?.at === training.values) return sampled;
  const two = training.values[program.inputs[0]].columns === 2,
    [left, right] = reach(0),
    inputs = [];
  if (!two) for (let i = 0; i <= 120; i += 1) inputs.push([left + ((right - left) * i) / 120]);
  else {
    const [low, high] = reach(1);
    for (let row = 0; row < SIDE; row += 1)
      for (let column = 0; column < SIDE; column += 1)
        inputs.push([left + ((right - left) * (column + 0.5)) / SIDE, high - ((high - low) * (row + 0.5)) / SIDE]);
  }
  const x = fromLists(inputs);
  sampled = { at: training.values, x, values: forwardTo(x) };
  return sampled;
}
const isPlotted = () => training.values[program.inputs[0]].columns <= 2 && columns[0].count <= 2;
const inputName = (unit) => (data.features ?? columns[0].labels)[unit] || shownName(program.inputs[0]) + (columns[0].count > 1 ? place(unit) : "");

/* The answers by the inputs, and the targets; or the output of one unit, and what it is in the rows. */
function drawAnswers() {
  if (!isPlotted()) return;
  const { values } = samples(),
    box = byId("answers");
  box.hidden = !values;
  if (values) drawOver(box, "The answer of the network", values[program.answer], training.values[data.target], "their targets", data.domain);
}
function drawUnit(box, { column, unit }) {
  const { output, units: numbers } = columns[column],
    { values } = samples();
  const alone = (value) => matrix(value.rows, 1, Float64Array.from({ length: value.rows }, (_, row) => entry(value, row, numbers[unit])));
  if (values) drawOver(box, unitName(column, unit), alone(values[output]), alone(training.values[output]), "its output in them");
}
const drawOver = (...all) => (training.values[program.inputs[0]].columns === 1 ? drawFit : drawMap)(...all);

function drawFit(box, title, found, y) {
  const { x: inputs } = samples(),
    x = training.values[program.inputs[0]],
    [low, high] = reach(0),
    numbers = [...found.numbers, ...y.numbers];
  const parts = plot(box, 220, `${title} by its input, and the rows`);
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  const across = scaled(low, high, parts.left, parts.right),
    up = scaled(least, most, parts.bottom, parts.top);
  axes(parts, least, most, `${inputName(0)} = ${format(low, 3)}`, format(high, 3));
  for (let output = 0; output < found.columns; output += 1)
    draw("path", { class: "line", d: pathOf([...inputs.numbers].map((n, row) => [across(n), up(entry(found, row, output))])) }, parts.svg);
  for (let row = 0; row < x.rows; row += 1)
    for (let output = 0; output < y.columns; output += 1)
      draw("circle", { class: "point", r: 4, cx: across(entry(x, row, 0)), cy: up(entry(y, row, output)) }, parts.svg);
}

function drawMap(box, title, found, y, colours, domain) {
  const x = training.values[program.inputs[0]],
    [[left, right], [low, high]] = [reach(0), reach(1)];
  const colour = colourOf(found, y, domain),
    shown = document.createElement("canvas");
  shown.width = shown.height = SIDE;
  const picture = shown.getContext("2d");
  for (let i = 0; i < SIDE * SIDE; i += 1) {
    picture.fillStyle = colour(found, i);
    picture.fillRect(i % SIDE, Math.floor(i / SIDE), 1, 1);
  }
  const size = Math.min(box.clientWidth, 260);
  const label = `${title} for each pair of inputs: ${inputName(0)} from left to right, ${inputName(1)} upwards`;
  const svg = draw("svg", { width: size, height: size, viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label });
  const across = scaled(left, right, 0, size),
    up = scaled(low, high, size, 0);
  for (let row = 0; row < x.rows; row += 1) {
    const at = { r: 6, cx: across(entry(x, row, 0)), cy: up(entry(x, row, 1)) };
    draw("circle", { class: "point", style: `fill: ${colour(y, row)}`, ...at }, svg);
  }
  const map = element("div", "", "map", [shown, svg]);
  map.style.width = map.style.height = `${size}px`;
  const legend = colour.legend.flatMap(([paint, text]) => {
    const swatch = element("i", "", "swatch");
    swatch.style.background = paint;
    return [swatch, `${text} `];
  });
  box.replaceChildren(map, element("p", `${label}. Points are the rows, in the colours of ${colours}.`), element("p", "", "", legend));
}

/* The colour of a row of answers: of one answer from orange to blue, of more that of the largest. */
const COLOURS = ["#1668a8", "#b84a00", "#2e7d32", "#8e24aa", "#b08a00", "#00838f", "#6d4c41", "#ad1457"];
function colourOf(found, y, domain) {
  if (found.columns > 1) {
    const largestOf = (value, row) => {
      const numbers = Array.from({ length: value.columns }, (_, unit) => entry(value, row, unit));
      return numbers.indexOf(Math.max(...numbers));
    };
    const colour = (value, row) => COLOURS[largestOf(value, row) % COLOURS.length];
    const { units: numbers, labels } = columns.at(-1);
    colour.legend = numbers.map((number, unit) => [COLOURS[number % COLOURS.length], labels[unit] || `${number + 1}`]);
    return colour;
  }
  const all = [...found.numbers, ...y.numbers],
    [low, high] = domain ?? [Math.min(...all), Math.max(...all)];
  const colour = (value, row) => {
    const share = ((entry(value, row, 0) - low) / (high - low || 1)) * 2 - 1;
    const [r, g, b] = share > 0 ? [22, 104, 168] : [184, 74, 0];
    return `rgb(${r} ${g} ${b} / ${Math.min(Math.abs(share), 1).toFixed(3)})`;
  };
  colour.legend = [[COLOURS[1], format(low, 3)], [COLOURS[0], format(high, 3)]];
  return colour;
}
