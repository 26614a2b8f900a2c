/* The exercise: a number, a shape or a part of a formula of the record is hidden, and the reader is asked for it. */
let examining = false,
  turn = 0; // which gap of a formula is asked for: the next one after each that was answered

function askedPlace() {
  const record = data.steps[state.step],
    value = training.values[record.name];
  return { record, value, at: chosenPlace(record) ?? largest(value, record) };
}

/* What is asked for: "shape" or "part", where the record has one, or "number". */
function kindAsked() {
  const { name } = data.steps[state.step],
    kind = byId("kind").value;
  if (kind === "shape" && data.losses.includes(name)) return "number"; // it has none
  return kind === "part" && !program.gaps[name]?.length ? "number" : kind;
}
function gapAsked() {
  const all = program.gaps[data.steps[state.step].name],
    [path, text, right, wrong] = all[turn % all.length];
  return { path, text, right, wrong: new Map(wrong.map(([part, says]) => [part, program.says[says]])) };
}

/* Ask for what is on the screen, if the exercise is on. */
function ask() {
  state.asking = examining && kindAsked();
  const root = document.documentElement;
  root.classList.toggle("asking", Boolean(state.asking));
  for (const kind of ["shape", "part"]) root.classList.toggle(`${kind}-asked`, state.asking === kind);
  byId("question").hidden = !state.asking;
  if (!state.asking) return;
  const { record, at } = askedPlace();
  byId("asked").textContent = {
    number: () => `What is ${nameAt(record.name, ...at, training.values)}? ${digitsNeeded()} digits are enough.`,
    shape: () => `What is the shape of ${shownName(record.name)}? Such as 4×2, or 4 for a vector.`,
    part: () => `What belongs at ▢?\n${gapAsked().text}`,
  }[state.asking]();
  byId("choices").replaceChildren(...(state.asking === "part" ? choiceButtons() : []));
  byId("guess").value = "";
  byId("verdict").textContent = "";
}
const choiceButtons = () =>
  [gapAsked().right, ...gapAsked().wrong.keys()].sort().map((text) =>
    button(text, () => {
      byId("guess").value = text;
      answer(text);
    }),
  );

function reveal(text) {
  state.asking = false;
  turn += 1;
  document.documentElement.classList.remove("asking", "part-asked");
  byId("verdict").textContent = text;
  paintNetwork();
  showChain();
  say();
}

/* What the reader typed, or chose. */
function answer(text) {
  const numbers = text.replaceAll("−", "-").split(/[^-+.\de]+/).filter(Boolean).map(Number);
  if (!state.asking || !text.trim()) return;
  if (state.asking !== "part" && !(numbers.length && numbers.every(Number.isFinite))) return;
  const judged = { number: () => verdict(numbers[0]), shape: () => verdictOfShape(numbers), part: () => verdictOfPart(text) };
  const { right, says } = judged[state.asking]();
  if (right) reveal(says);
  else byId("verdict").textContent = says;
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
    answer(byId("guess").value);
  });
  byId("kind").addEventListener("change", () => show(state.step));
  byId("reveal").addEventListener("click", () =>
    reveal(state.asking === "part" ? `It is ${gapAsked().right}.` : ""),
  );
}
