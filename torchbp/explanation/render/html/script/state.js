"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { columns } = data;
const program = data.program ?? null; // what the page computes steps from; null of a network of too many numbers
const shownName = (name) => data.names[name] ?? name;
for (const step of data.steps) Object.assign(step, { units: [], weights: [], derivative: false, ...step });
const byId = (id) => document.getElementById(id);
/* The record on the screen, the row, what the pointer or the keyboard is at, and whether that stays. */
const state = { step: 0, row: 0, chosen: null, pinned: false, nudged: false, asking: false };
/* The numbers of the units and weights that are drawn, and of the slopes; of the step on the screen. The data have
   them of the first step, but for a network in float64 that the page computes. */
let { tensors, slopes } = data;
const cardPictures = []; // functions (card, step) that draw something in the card of a record

const minus = (text) => text.replaceAll("-", "−");

/* As Python prints it, with the sign − of the equations. Three digits or two are for a box, where an exponent takes the
   room of one. */
function format(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not finite";
  if (value === 0) return "0";
  const boxed = digits < 4;
  const [mantissa, exponent] = value.toExponential(boxed ? digits - 2 : digits - 1).split("e");
  if (exponent >= (boxed ? -3 : -4) && exponent < (boxed ? 5 : digits)) return minus(String(Number(value.toPrecision(digits))));
  return minus(`${Number(mantissa)}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`);
}
function element(tag, text, kind, children = []) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (kind) made.className = kind;
  made.append(...children);
  return made;
}
function button(text, action) {
  const made = Object.assign(element("button", text), { type: "button" });
  made.addEventListener("click", action);
  return made;
}

const place = (...numbers) => `[${numbers.map((n) => n + 1).join(",")}]`;
const rowName = () => (data.count > 1 ? `, row ${state.row + 1}` : "");

/* The names of what is computed up to the record on the screen; without it, while it is asked for. */
const knownNames = () => new Set(data.steps.slice(0, state.step + (state.asking ? 0 : 1)).map(({ name }) => name));
