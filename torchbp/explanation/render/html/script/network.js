const SPACE = document.querySelector("svg").namespaceURI; // of the legend: the page holds no address
const NARROW = 480;
const HIGH = 36,
  APART = 68,
  TOP = 46,
  LETTER = 7.5; // the breadth of one, of 12 pixels
const STRONG = [24, 8]; // weights between two columns, and on a phone, that are drawn in full: more would be a tangle

function draw(tag, attributes, parent, text) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent?.append(made, " "); // a space between two texts, for who hears them
  return made;
}

let units = [],
  links = [],
  heads = [],
  pairs = [],
  loss = null;

/* The drawing, as wide as its card or, for many layers, wider. */
function drawNetwork() {
  const card = document.getElementById("network"),
    room = card.clientWidth;
  const count = columns.length + 1,
    narrow = room < NARROW,
    wide = narrow ? 66 : 86;
  const least = narrow ? 20 : 54; // between columns
  // names of inputs stand above their boxes, not under the edges: the boxes are as broad as the names, where there is room
  const named = Math.max(...columns[0].labels.map((label) => label.length)) * LETTER;
  const spare = room - (count - 1) * (wide + least) - 8;
  const first = Math.max(wide, Math.min(named, spare, narrow ? 0 : 134));
  const boxes = first + (count - 1) * wide + 8;
  const gap = Math.max(least, Math.min(150, (room - boxes) / (count - 1)));
  const tall = Math.max(...columns.map((c) => c.units.length)),
    more = columns.some((c) => c.count > c.units.length);
  const height = TOP + tall * APART + (more ? 22 : 0) + 22,
    width = boxes + (count - 1) * gap;
  const svg = draw("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "group",
    "aria-label": "The network: units in columns, weights between them",
  });
  const broad = (column) => (column ? wide : first);
  const x = (column) => 4 + (column ? first + gap + (column - 1) * (wide + gap) : 0);
  const y = (column, unit) => TOP + 16 + ((tall - columns[column].units.length) / 2 + unit) * APART;
  units = [];
  links = [];
  heads = [];
  pairs = [];
  columns.slice(1).forEach((_, i) => {
    const column = i + 1,
      group = draw("g", { class: "edges" }, svg);
    links[column] = columns[column].units.map((_, unit) =>
      columns[i].units.map((_, from) => {
        if (!connected(column, unit, from)) return null;
        const x1 = x(i) + broad(i),
          x2 = x(column),
          y1 = y(i, from) + HIGH / 2,
          y2 = y(column, unit) + HIGH / 2,
          m = (x1 + x2) / 2;
        const path = `M${x1} ${y1}C${m} ${y1} ${m} ${y2} ${x2} ${y2}`;
        const link = draw("g", { class: "link", tabindex: -1, role: "img" }, group);
        draw("path", { class: "hit", d: path }, link);
        draw("path", { class: "edge", d: path }, link);
        choosable(link, { column, unit, from });
        return link;
      }),
    );
    const label = draw("text", { class: "muted", x: (x(i) + broad(i) + x(column)) / 2, y: height - 6 }, svg);
    pairs[column] = { group, label };
  });
  const last = columns.length - 1,
    middle = y(last, (columns[last].units.length - 1) / 2);
  const toLoss = draw("g", { class: "edges" }, svg);
  columns[last].units.forEach((_, unit) =>
    draw(
      "path",
      {
        class: "edge",
        stroke: "var(--line)",
        "stroke-width": 1.5,
        d: `M${x(last) + wide} ${y(last, unit) + HIGH / 2}L${x(last + 1)} ${middle + HIGH / 2}`,
      },
      toLoss,
    ),
  );
  columns.forEach((of, column) => {
    const center = x(column) + broad(column) / 2;
    const title = column ? of.layer || `layer ${column}` : "input";
    draw("text", { class: "head", x: center, y: 13 }, svg, cutTo(title, narrow ? 9 : 13));
    heads[column] = draw("text", { class: "muted", x: center, y: 29 }, svg);
    units[column] = of.units.map((index, unit) => {
      const group = draw("g", { class: "unit", role: "button", tabindex: column || unit ? -1 : 0 }, svg),
        top = y(column, unit);
      const label = of.labels[unit]
        ? cutTo(of.labels[unit], column ? (narrow ? 9 : 13) : Math.floor(Math.max(first, narrow ? 66 : 86) / LETTER))
        : `${index + 1}`;
      if (column) draw("text", { class: "muted label", x: center, y: top - 5 }, group, label);
      else draw("text", { class: "muted first", x: x(0) + 2, y: top - 5 }, group, label);
      const bias = of.bias.length ? draw("text", { class: "muted", x: center, y: top + HIGH + 13 }, group) : null;
      const rect = draw("rect", { x: x(column), y: top, width: broad(column), height: HIGH, rx: 10 }, group);
      const value = draw("text", { x: center, y: top + 15 }, group),
        delta = draw("text", { class: "delta", x: center, y: top + 29 }, group);
      choosable(group, { column, unit });
      return { group, rect, value, delta, bias, top };
    });
    if (of.count > of.units.length)
      draw(
        "text",
        { class: "muted", x: center, y: y(column, of.units.length) + 2 },
        svg,
        `${narrow ? "+" : "and "}${of.count - of.units.length} more`,
      );
  });
  const box = draw("g", { class: "unit", role: "button", tabindex: -1 }, svg),
    center = x(last + 1) + wide / 2;
  draw("text", { class: "head", x: center, y: 13 }, svg, "loss");
  draw("rect", { x: x(last + 1), y: middle, width: wide, height: HIGH, rx: 18 }, box);
  loss = {
    box,
    text: draw("text", { x: center, y: middle + 22 }, box),
    head: draw("text", { class: "muted", x: center, y: 29 }, svg),
    toLoss,
  };
  choosable(box, { loss: true });
  card.replaceChildren(svg);
}

const cutTo = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function choosable(node, at) {
  node.addEventListener("pointerenter", () => look(at));
  node.addEventListener("focus", () => look(at));
  node.addEventListener("click", () => {
    node.focus();
    pin(at);
  });
}

const nodeOf = ({ column, unit, from, loss: ofLoss }) =>
  ofLoss ? loss.box : from === undefined ? units[column][unit].group : links[column][unit][from];
const same = (a, b) => a && b && ["column", "unit", "from", "loss"].every((key) => a[key] === b[key]);

/* The pointer or the focus is at it: the panel shows it, unless another one is pinned. */
function look(at) {
  state.at = at;
  if (!state.pinned) choose(at);
}
function choose(at) {
  if (state.chosen) nodeOf(state.chosen)?.classList.remove("chosen");
  state.chosen = at;
  nodeOf(at).classList.add("chosen");
  showChain();
  showCard();
}
/* It stays in the panel; the same one again lets go. */
function pin(at) {
  const again = state.pinned && same(state.chosen, at);
  state.pinned = !again;
  state.nudged = false;
  choose(at);
  if (state.pinned) byId("chain").scrollIntoView({ block: "nearest" });
  writeAddress();
}
const unpin = () => pin(state.chosen);

/* ↑ and ↓ between units, or between a unit's weights once Space has gone into them. Enter pins. */
function keyInNetwork(event) {
  const { at } = state;
  if (!at || !event.target.closest("#network")) return false;
  const inside = at.from !== undefined,
    { column, unit } = at;
  const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  let next = null;
  if (event.key === "Enter") pin(at);
  else if (way && inside) {
    next = { ...at, from: at.from + way };
    while (links[column][unit][next.from] === null) next.from += way; // an element by element layer has one edge
    if (!links[column][unit][next.from]) return true;
  } else if (way) {
    const all = columns.flatMap((c, i) => c.units.map((_, n) => ({ column: i, unit: n })));
    all.push({ loss: true });
    next = all[all.findIndex((other) => same(other, at)) + way];
  } else if (event.key === " " && !inside && column > 0) {
    next = { ...at, from: links[column][unit].findIndex(Boolean) };
    if (next.from < 0) return true;
  } else if (event.key === "Escape" && inside) next = { column, unit };
  else if (event.key === "Escape" && state.pinned) unpin();
  else return false;
  if (next) {
    const node = nodeOf(next);
    [...units.flat().map((u) => u.group), loss.box].forEach((other) => other.setAttribute("tabindex", -1));
    (next.loss ? loss.box : units[next.column][next.unit].group).setAttribute("tabindex", 0);
    node.focus();
  }
  return true;
}
