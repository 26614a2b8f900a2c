const buttons = [...document.querySelectorAll(".jumps button")];

function show(step) {
  state.step = Math.max(0, Math.min(cards.length - 1, step));
  cards.forEach((card, i) => card.classList.toggle("shown", i === state.step));
  const { stage } = data.steps[state.step];
  byId("at").textContent = `${state.step + 1} of ${cards.length}`;
  byId("back").disabled = state.step === 0;
  byId("next").disabled = state.step === cards.length - 1;
  byId("progress").style.width = `${(100 * (state.step + 1)) / cards.length}%`;
  for (const jump of buttons) {
    if (jump.dataset.stage === stage) jump.setAttribute("aria-current", "step");
    else jump.removeAttribute("aria-current");
  }
  showCard();
  ask();
  say();
  paintNetwork();
  showChain();
  scrolling();
}
/* What a screen reader says of the record, and the equation above; without what is asked for. */
function say() {
  const parts = { number: [".stage", ".equation math", ".why"], shape: [".stage", ".equation math", ".numbers"], part: [".stage"] };
  const said = (parts[state.asking] ?? [".stage", ".equation math", ".why", ".numbers"])
    .map((part) => cards[state.step].querySelector(part))
    .filter(Boolean)
    .map((e) => (e.getAttribute("alttext") ?? e.textContent).replace(/\.$/, ""));
  byId("equation").textContent =
    state.asking === "part" ? gapAsked().text : cards[state.step].querySelector(".equation math").getAttribute("alttext");
  byId("now").textContent = [`Step ${state.step + 1} of ${cards.length}`, ...said].join(". ");
}
function go(step) {
  show(step);
  writeAddress();
}

function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
  const to = { ArrowRight: state.step + 1, ArrowLeft: state.step - 1, Home: 0, End: cards.length - 1 }[event.key];
  if (to !== undefined) go(to);
  else if (!keyInNetwork(event)) return;
  event.preventDefault();
}

function rowButtons() {
  if (data.rows < 2) return;
  const rows = byId("rows");
  rows.hidden = false;
  for (let row = 0; row < data.rows; row += 1) {
    const input = Object.assign(document.createElement("input"), {
      type: "radio",
      name: "row",
      value: row,
      checked: row === 0,
    });
    input.addEventListener("change", () => chooseRow(row));
    rows.append(element("label", "", "", [input, ` ${row + 1}`]));
  }
  if (data.count > data.rows) rows.append(element("span", `of ${data.count}`));
}
function setRow(row) {
  state.row = row;
  for (const [i, input] of document.querySelectorAll("#rows input").entries()) input.checked = i === row;
}
function chooseRow(row) {
  setRow(row);
  paintNetwork();
  showChain();
  showCard();
  ask();
  writeAddress();
}

function redraw() {
  const focused = byId("network").contains(document.activeElement);
  drawNetwork();
  drawCurve();
  paintNetwork();
  showRate();
  if (training?.values) {
    drawLosses();
    drawAnswers();
  }
  scrolling();
  if (!state.chosen) return;
  nodeOf(state.chosen).classList.add("chosen");
  if (focused) nodeOf(state.at).focus();
}

/* What is too wide for its place scrolls, with the keyboard too. */
function scrolling() {
  for (const box of document.querySelectorAll(".scroll, .equation, #chain"))
    if (box.scrollWidth > box.clientWidth + 1 && box.id !== "network") box.setAttribute("tabindex", 0);
    else box.removeAttribute("tabindex");
}

/* The address holds what is on the screen: #step=10&row=2&unit=A1.3&trained=5; of a training with other numbers or
   another learning rate it has no step. */
function writeAddress() {
  if (location.protocol === "about:") return; // a frame in a notebook has no address
  const parts = [`step=${state.step + 1}`];
  if (data.rows > 1) parts.push(`row=${state.row + 1}`);
  if (state.pinned) parts.push(`unit=${addressOf(state.chosen)}`);
  if (program && training.at && !training.changed) parts.push(`trained=${training.at}`);
  history.replaceState(null, "", `#${parts.join("&")}`);
}
function addressOf({ column, unit, from, loss: ofLoss }) {
  if (ofLoss) return data.losses[0];
  const { output, weight, units: numbers } = columns[column];
  if (from === undefined) return `${output}.${numbers[unit] + 1}`;
  return [weight.name, ...weightIndex(column, unit, from).map((n) => n + 1)].join(".");
}
function chosenBy(text) {
  if (text === data.losses[0]) return { loss: true };
  const all = columns.flatMap(({ units: numbers }, column) =>
    numbers.flatMap((_, unit) => [
      { column, unit },
      ...(column ? columns[column - 1].units.map((_, from) => ({ column, unit, from })) : []).filter(({ from }) =>
        connected(column, unit, from),
      ),
    ]),
  );
  return all.find((at) => addressOf(at) === text);
}
function readAddress(address = location.hash.slice(1)) {
  const parts = new URLSearchParams(address);
  const number = (name, most) => Math.max(0, Math.min(most, (parseInt(parts.get(name), 10) || 1) - 1));
  if (program && (parts.has("trained") || (training.at && !training.changed))) {
    const count = Math.max(0, Math.min(MOST_STEPS, parseInt(parts.get("trained"), 10) || 0));
    while (training.steps.length <= count && takeStep());
    goTo(Math.min(count, training.steps.length - 1));
  }
  const at = chosenBy(parts.get("unit"));
  setRow(number("row", data.rows - 1));
  if (at) {
    state.pinned = true;
    state.at = at;
    choose(at);
  } else if (state.pinned) {
    state.pinned = false;
    showChain();
  }
  show(number("step", cards.length - 1));
}

document.documentElement.classList.add("script");
slider.max = points.length - 1;
slider.value = chosen ?? 0;
if (program) computeAt(0);
rowButtons();
redraw();
trainingControls();
questionControls();
if (program) {
  askNetwork();
  refresh();
}
readAddress();
byId("back").addEventListener("click", () => go(state.step - 1));
byId("next").addEventListener("click", () => go(state.step + 1));
buttons.forEach((jump) => jump.addEventListener("click", () => go(Number(jump.dataset.step))));
slider.addEventListener("input", showRate);
document.addEventListener("keydown", keys);
addEventListener("hashchange", () => readAddress());
for (const follow of document.querySelectorAll(".follow"))
  follow.addEventListener("click", () => {
    readAddress(follow.dataset.address);
    writeAddress();
  });
let before = 0;
addEventListener("beforeprint", () => {
  // paper shows every step, and so the network at its last
  before = state.step;
  show(cards.length - 1);
  cards.forEach((_, step) => showCard(step));
  for (const folded of document.querySelectorAll("#given, .checks")) folded.open = true;
});
addEventListener("afterprint", () => show(before));
/* Whatever changes the room: the window, a scrollbar, the zoom. */
let room = byId("network").clientWidth;
new ResizeObserver(() => {
  if (byId("network").clientWidth === room) return;
  room = byId("network").clientWidth;
  redraw();
}).observe(byId("network"));
