/* A weight by hand: another value for it, and the slope of the loss that a small nudge measures. */
const NUDGE = 1e-3;

function byHand(column, unit, from) {
  if (!program || !state.pinned) return [];
  const { weight } = columns[column],
    at = weightIndex(column, unit, from);
  const input = Object.assign(element("input"), { type: "number", step: "any", id: "weight-value" });
  const value = entry(training.values[weight.name], at.length > 1 ? at[0] : 0, at.at(-1));
  input.value = value;
  input.addEventListener("change", () => edit(weight.name, at.length > 1 ? at[0] : 0, at.at(-1), input.valueAsNumber));
  const label = element("label", "another value: ", "", [input]);
  const toggle = button(state.nudged ? "Hide the nudge" : "Nudge this weight", () => {
    state.nudged = !state.nudged;
    showChain();
  });
  const parts = [element("p", "", "hand", [label, toggle])];
  return state.nudged ? [...parts, ...nudgeLines(weight, at)] : parts;
}

/* L with the weight a little larger and a little smaller, and the difference quotient. */
function nudgeLines(weight, at) {
  const [row, column] = [at.length > 1 ? at[0] : 0, at.at(-1)],
    { given } = training.steps[training.at];
  const lossAt = (h) => {
    const changed = changedAt(given[weight.name], row, column, entry(given[weight.name], row, column) + h);
    return forwardOf({ ...given, [weight.name]: changed })[data.losses[0]].numbers[0];
  };
  const [up, down] = [lossAt(NUDGE), lossAt(-NUDGE)];
  const name = shownName(weight.name) + place(...at),
    loss = shownName(data.losses[0]);
  const gradient = entry(training.values[weight.gradient], row, column);
  return [
    element("p", `${loss} = ${format(up, 9)} with ${name} + ${NUDGE}, and ${format(down, 9)} with ${name} − ${NUDGE}.`),
    element("p", `(${format(up, 9)} − ${format(down, 9)})/${2 * NUDGE} = ${format((up - down) / (2 * NUDGE), 5)}`, "measured"),
    element("p", `The formula says ${shownName(weight.gradient)}${place(...at)} = ${format(gradient, 5)}.`),
  ];
}
