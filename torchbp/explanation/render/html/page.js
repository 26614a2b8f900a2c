const cards = [...document.querySelectorAll(".step")],
  buttons = [...document.querySelectorAll(".jumps button")];
const byId = (id) => document.getElementById(id);

function show(step) {
  state.step = Math.max(0, Math.min(cards.length - 1, step));
  cards.forEach((card, i) => card.classList.toggle("shown", i === state.step));
  const { name, stage } = data.steps[state.step];
  byId("at").textContent = `${state.step + 1} of ${cards.length}`;
  byId("back").disabled = state.step === 0;
  byId("next").disabled = state.step === cards.length - 1;
  byId("progress").style.width = `${(100 * (state.step + 1)) / cards.length}%`;
  for (const button of buttons) {
    if (button.dataset.stage === stage) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  }
  const said = [".stage", ".equation math", ".why", ".numbers"].map((part) => cards[state.step].querySelector(part));
  byId("now").textContent =
    `Step ${state.step + 1} of ${cards.length}. ` +
    said
      .filter(Boolean)
      .map((e) => (e.getAttribute("alttext") ?? e.textContent).replace(/\.$/, ""))
      .join(". ");
  paintNetwork();
  return name;
}

function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input")) return;
  const to = { ArrowRight: state.step + 1, ArrowLeft: state.step - 1, Home: 0, End: cards.length - 1 }[event.key];
  if (to !== undefined) show(to);
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
    input.addEventListener("change", () => {
      state.row = row;
      paintNetwork();
      showChain();
    });
    rows.append(element("label", "", "", [input, ` ${row + 1}`]));
  }
  if (data.count > data.rows) rows.append(element("span", `of ${data.count}`));
}

function redraw() {
  const focused = byId("network").contains(document.activeElement);
  drawNetwork();
  drawCurve();
  paintNetwork();
  showRate();
  if (!state.chosen) return;
  nodeOf(state.chosen).classList.add("chosen");
  if (focused) nodeOf(state.chosen).focus();
}

document.documentElement.classList.add("script");
slider.max = points.length - 1;
slider.value = chosen ?? 0;
rowButtons();
redraw();
show(0);
showChain();
byId("back").addEventListener("click", () => show(state.step - 1));
byId("next").addEventListener("click", () => show(state.step + 1));
buttons.forEach((button) => button.addEventListener("click", () => show(Number(button.dataset.step))));
slider.addEventListener("input", showRate);
document.addEventListener("keydown", keys);
let before = 0;
addEventListener("beforeprint", () => {
  // paper shows every step, and so the network at its last
  before = state.step;
  show(cards.length - 1);
});
addEventListener("afterprint", () => show(before));
/* Whatever changes the room: the window, a scrollbar, the zoom. */
let room = byId("network").clientWidth;
new ResizeObserver(() => {
  if (byId("network").clientWidth === room) return;
  room = byId("network").clientWidth;
  redraw();
}).observe(byId("network"));
