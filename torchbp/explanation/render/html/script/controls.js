/* The card in which the network is trained: buttons, the learning rate, the loss of each step, and numbers to change. */
const PER_FRAME = [1, 10, 100],
  AHEAD = 10, // steps, after which learning rates are compared
  TIMES = [0.5, 1, 2, 10];
let playing = 0; // the number of the next frame's request; 0 while nothing plays

function playFrame() {
  const count = PER_FRAME[byId("speed").value];
  if (training.at < training.steps.length - 1) training.at = training.steps.length - 1;
  let going = true;
  for (let i = 0; i < count && going; i += 1) going = takeStep();
  goTo(training.steps.length - 1);
  playing = going ? requestAnimationFrame(playFrame) : 0;
  showControls();
  if (!playing) writeAddress();
}
function togglePlay() {
  if (playing) cancelAnimationFrame(playing);
  playing = playing ? 0 : requestAnimationFrame(playFrame);
  showControls();
  if (!playing) writeAddress();
}
function stepOnce() {
  if (training.at === training.steps.length - 1) takeStep();
  goTo(Math.min(training.at + 1, training.steps.length - 1));
  writeAddress();
}

function showControls() {
  byId("play").textContent = playing ? "Pause" : "Play";
  byId("chain").setAttribute("aria-live", playing ? "off" : "polite"); // not read aloud many times a second
  const { at, steps } = training;
  byId("time").max = steps.length - 1;
  byId("time").value = at;
  const text = `After ${at} ${at === 1 ? "step" : "steps"}: ${shownName(data.losses[0])} = ${format(steps[at].loss)}`;
  byId("time").setAttribute("aria-valuetext", text);
  byId("when").textContent = text;
  byId("why").textContent = at === steps.length - 1 ? (training.why ?? "") : "";
  byId("rows-right").textContent = rowsRight();
  byId("ahead").textContent = "";
  if (document.activeElement !== byId("alpha")) byId("alpha").value = steps[at].rate;
}

/* How many rows the network answers rightly, of a loss of classes or of probabilities; "" of others. */
function rowsRight() {
  const [a, y] = [training.values[program.answer], training.values[data.target]],
    ofClasses = !program.inputs.includes(data.target);
  if (!ofClasses && !data.domain) return "";
  const numbers = ({ columns: wide }, row, value) => Array.from({ length: wide }, (_, unit) => entry(value, row, unit));
  const chosenBy = (value, row) => {
    const all = numbers(a, row, value);
    return ofClasses ? all.indexOf(Math.max(...all)) : all.map((n) => n > 0.5).join();
  };
  const right = Array.from({ length: a.rows }, (_, row) => chosenBy(a, row) === chosenBy(y, row)).filter(Boolean).length;
  return `${right} of ${a.rows} rows ${right === 1 ? "is" : "are"} answered rightly.`;
}

function compareRates() {
  const { rate } = training.steps[training.at],
    found = TIMES.map((times) => `${format(lossAfter(AHEAD, times * rate))} with α = ${format(times * rate, 3)}`);
  byId("ahead").textContent = `After ${AHEAD} more steps ${shownName(data.losses[0])} is ${found.join(", ")}.`;
}

/* The numbers of one given quantity, to be changed. */
function showNumbers() {
  const name = byId("which").value,
    value = training.steps[training.at].given[name],
    box = byId("numbers");
  if (!byId("change").open) return;
  const rows = Math.min(value.rows, 20);
  const body = Array.from({ length: rows }, (_, row) =>
    element(
      "tr",
      "",
      "",
      Array.from({ length: value.columns }, (_, column) => {
        const input = Object.assign(element("input"), { type: "number", step: "any", value: entry(value, row, column) });
        input.id = `number-${row}-${column}`;
        input.setAttribute("aria-label", shownName(name) + place(...indices(name, row, column)));
        input.addEventListener("change", () => edit(name, row, column, input.valueAsNumber));
        return element("td", "", "", [input]);
      }),
    ),
  );
  const focused = box.contains(document.activeElement) && document.activeElement.id;
  box.replaceChildren(element("table", "", "", [element("tbody", "", "", body)]));
  if (focused) byId(focused)?.focus();
}

function trainingControls() {
  byId("train-card").hidden = false;
  if (!program) return;
  const choices = [...program.inputs, ...Object.keys(program.gradients)];
  byId("which").append(
    ...choices.map((name) => Object.assign(element("option", shownName(name)), { value: name })),
  );
  byId("one").addEventListener("click", stepOnce);
  byId("play").addEventListener("click", togglePlay);
  byId("again").addEventListener("click", startAgain);
  byId("time").addEventListener("input", () => goTo(Number(byId("time").value)));
  byId("time").addEventListener("change", writeAddress);
  byId("alpha").addEventListener("change", () => setRate(byId("alpha").valueAsNumber));
  byId("compare").addEventListener("click", compareRates);
  byId("which").addEventListener("change", showNumbers);
  byId("change").addEventListener("toggle", showNumbers);
}
