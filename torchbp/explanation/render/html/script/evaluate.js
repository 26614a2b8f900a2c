/* The trees of the equations, evaluated in float64. A value is a matrix {rows, columns, numbers}; a number has one row
   and one column, and a vector one row. */
const matrix = (rows, columns, numbers) => ({ rows, columns, numbers });
const scalar = (value) => matrix(1, 1, Float64Array.of(value));
const entry = ({ rows, columns, numbers }, row, column) => numbers[(row % rows) * columns + (column % columns)];

function fromLists(lists) {
  const rows = Array.isArray(lists?.[0]) ? lists : [Array.isArray(lists) ? lists : [lists]];
  return matrix(rows.length, rows[0].length, Float64Array.from(rows.flat()));
}
const toLists = ({ rows, columns, numbers }) =>
  Array.from({ length: rows }, (_, row) => Array.from(numbers.subarray(row * columns, (row + 1) * columns)));

const fit = (count, other) => count === other || count === 1 || other === 1;
const unfit = (left, right) =>
  `The shapes do not fit: ${left.rows}×${left.columns} and ${right.rows}×${right.columns}. Is a transpose missing or too much?`;

/* Element by element; a row, a column or a number is repeated. */
function together(compute, left, right) {
  if (!(fit(left.rows, right.rows) && fit(left.columns, right.columns))) throw new Error(unfit(left, right));
  const rows = Math.max(left.rows, right.rows),
    columns = Math.max(left.columns, right.columns);
  const numbers = new Float64Array(rows * columns);
  if (left.numbers.length === numbers.length && right.numbers.length === numbers.length)
    for (let i = 0; i < numbers.length; i += 1) numbers[i] = compute(left.numbers[i], right.numbers[i]);
  else
    for (let row = 0, i = 0; row < rows; row += 1)
      for (let column = 0; column < columns; column += 1, i += 1)
        numbers[i] = compute(entry(left, row, column), entry(right, row, column));
  return matrix(rows, columns, numbers);
}
const each = (compute, { rows, columns, numbers }) => matrix(rows, columns, numbers.map((n) => compute(n)));

function product(left, right) {
  if (left.columns !== right.rows) throw new Error(unfit(left, right));
  const numbers = new Float64Array(left.rows * right.columns);
  for (let row = 0; row < left.rows; row += 1)
    for (let inner = 0; inner < left.columns; inner += 1) {
      const factor = left.numbers[row * left.columns + inner];
      for (let column = 0; column < right.columns; column += 1)
        numbers[row * right.columns + column] += factor * right.numbers[inner * right.columns + column];
    }
  return matrix(left.rows, right.columns, numbers);
}
function transpose({ rows, columns, numbers }) {
  const turned = new Float64Array(numbers.length);
  for (let row = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 1) turned[column * rows + row] = numbers[row * columns + column];
  return matrix(columns, rows, turned);
}
function sumOver({ rows, columns, numbers }, overRows) {
  if (!overRows) return scalar(numbers.reduce((sum, n) => sum + n, 0));
  const sums = new Float64Array(columns);
  numbers.forEach((n, i) => (sums[i % columns] += n));
  return matrix(1, columns, sums);
}

/* erf by its series, whose terms are all positive, and far from 0 by the continued fraction of 1 − erf. */
function erf(z) {
  const x = Math.abs(z);
  if (x > 6) return Math.sign(z);
  if (x < 2.5) {
    let term = z,
      sum = z;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n += 1) sum += term *= (2 * x * x) / (2 * n + 1);
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let fraction = x;
  for (let n = 80; n > 0; n -= 1) fraction = x + n / 2 / fraction;
  return Math.sign(z) * (1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction);
}

const sumOfRow = (value) => product(value, matrix(value.columns, 1, new Float64Array(value.columns).fill(1)));

const FUNCTIONS = {
  σ: (z) => 1 / (1 + Math.exp(-z)),
  tanh: Math.tanh,
  exp: Math.exp,
  ln: Math.log,
  sin: Math.sin,
  cos: Math.cos,
  erf,
  sqrt: Math.sqrt,
  softplus: (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))),
  abs: Math.abs,
  sgn: (z) => Number(z > 0) - Number(z < 0), // 0 of nan, as torch says
};
const FUNCTIONS_OF_TWO = { max: Math.max, min: Math.min };
/* As C and torch have it: a root is exact, and 1 to the power of anything is 1. */
function power(base, exponent) {
  if (exponent === 0.5) return Math.sqrt(base);
  return base === 1 || (base === -1 && Math.abs(exponent) === Infinity) ? 1 : base ** exponent;
}
const RELATIONS = { ">": (a, b) => a > b, "<": (a, b) => a < b, "≥": (a, b) => a >= b, "≤": (a, b) => a <= b };

const NODES = {
  Sum: (of, terms) => terms.map(of).reduce((a, b) => together((x, y) => x + y, a, b)),
  Product: (of, factors) => factors.map(of).reduce((a, b) => together((x, y) => x * y, a, b)),
  Quotient: (of, above, below) => {
    const z = exponent(above);
    if (z && below[0] === "SumOfRow" && alike(below[1], above)) return each(Math.exp, minusLogSum(of(z))); // a softmax
    return together((x, y) => x / y, of(above), of(below));
  },
  Power: (of, base, exponent) => together(power, of(base), of(exponent)),
  MatrixProduct: (of, left, right) => product(of(left), of(right)),
  Negative: (of, operand) => each((x) => -x, of(operand)),
  Transpose: (of, operand) => transpose(of(operand)),
  SumOfRow: (of, operand) => sumOfRow(of(operand)),
  SumOver: (of, operand, overRows) => sumOver(of(operand), overRows),
  Indicator: (of, left, relation, right) => together((x, y) => Number(RELATIONS[relation](x, y)), of(left), of(right)),
  Call: (of, name, inside) => {
    if (name === "ln") {
      const small = onePlusExp(inside[0]),
        z = inside[0][0] === "SumOfRow" && exponent(inside[0][1]);
      if (small) return each(FUNCTIONS.softplus, of(small));
      if (z) return logSum(of(z));
    }
    if (name in FUNCTIONS_OF_TWO) return together(FUNCTIONS_OF_TWO[name], ...inside.map(of));
    return each(FUNCTIONS[name], of(inside[0]));
  },
};

/* ln(1 + e^z), ln Σ e^z and a softmax are computed so that no e^z overflows, as torch does. */
const exponent = (tree) => (tree[0] === "Call" && tree[1] === "exp" ? tree[2][0] : null);
function onePlusExp(tree) {
  return tree[0] === "Sum" && tree[1].length === 2 && tree[1][0] === 1 ? exponent(tree[1][1]) : null;
}
const alike = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/* ln Σ e^z of each row. */
function logSum(z) {
  const most = matrix(z.rows, 1, Float64Array.from(toLists(z), (row) => Math.max(...row)));
  const sums = sumOfRow(each(Math.exp, together((x, y) => x - y, z, most)));
  return together((x, y) => x + Math.log(y), most, sums);
}
const minusLogSum = (z) => together((x, y) => x - y, z, logSum(z));

/* The value of a tree, where `values` has one for each name. */
function valueOf(tree, values) {
  if (typeof tree === "number") return scalar(tree);
  if (typeof tree === "string") return values[tree];
  const [kind, ...fields] = tree;
  return NODES[kind]((child) => valueOf(child, values), ...fields);
}
