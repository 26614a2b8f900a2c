/* The nodes that take elements by their places: parts of a row, rows side by side, sums and largest numbers of groups, and
   convolutions. */
const total = (shape) => shape.reduce((all, size) => all * size, 1);

/* A tensor of this shape as a matrix; a vector is one row. */
const shaped = (shape, numbers) => (shape.length > 1 ? matrix(shape[0], total(shape) / shape[0], numbers) : matrix(1, total(shape), numbers));

/* Sums over rows if `overRows`, otherwise for each row: `add(sums, row)` adds up those of one row. */
function collected(rows, shape, overRows, add) {
  const count = total(shape),
    numbers = new Float64Array(overRows ? count : rows * count);
  for (let row = 0; row < rows; row += 1) add(overRows ? numbers : numbers.subarray(row * count, (row + 1) * count), row);
  return overRows ? shaped(shape, numbers) : matrix(rows, count, numbers);
}

/* ln Σ e^z of the groups of each row, as `logSum` has it of rows: no e^z overflows. */
function logSumOfGroups({ rows, columns: wide, numbers: z }, groups, count) {
  const found = matrix(rows, count, new Float64Array(rows * count));
  for (let row = 0; row < rows; row += 1) {
    const [most, sums] = [new Float64Array(count).fill(-Infinity), new Float64Array(count)];
    groups.forEach((group, i) => (most[group] = Math.max(most[group], z[row * wide + i])));
    groups.forEach((group, i) => (sums[group] += Math.exp(z[row * wide + i] - most[group])));
    sums.forEach((sum, group) => (found.numbers[row * count + group] = most[group] + Math.log(sum)));
  }
  return found;
}
const sumsExp = (tree) => tree[0] === "Collect" && !tree[4] && exponent(tree[1]);
const { Quotient: quotientOf, Call: callOf } = NODES;

Object.assign(NODES, {
  Quotient: (of, above, below) => {
    if (below[0] !== "Gather" || !sumsExp(below[1]) || !alike(below[1][1], above)) return quotientOf(of, above, below);
    const [, sums, index] = below,
      z = of(exponent(above)),
      logs = logSumOfGroups(z, sums[2], total(sums[3]));
    const logOf = (i) => entry(logs, Math.floor(i / z.columns), index[i % z.columns]);
    return matrix(z.rows, z.columns, z.numbers.map((n, i) => Math.exp(n - logOf(i))));
  },
  Call: (of, name, inside) => {
    const z = name === "ln" && sumsExp(inside[0]);
    return z ? logSumOfGroups(of(z), inside[0][2], total(inside[0][3])) : callOf(of, name, inside);
  },
  Gather: (of, operand, index, shape) => {
    const value = of(operand);
    if (shape) return shaped(shape, Float64Array.from(index, (at) => value.numbers[at]));
    const numbers = Array.from({ length: value.rows }, (_, row) => index.map((at) => entry(value, row, at)));
    return matrix(value.rows, index.length, Float64Array.from(numbers.flat()));
  },
  Collect: (of, operand, index, shape, overRows) => {
    const value = of(operand);
    return collected(value.rows, shape, overRows, (sums, row) => index.forEach((at, unit) => (sums[at] += entry(value, row, unit))));
  },
  Folded: (of, operand, wide) => {
    const { numbers } = of(operand);
    return matrix(numbers.length / wide, wide, numbers);
  },
  FirstLargest: (of, operand, groups) => {
    const value = of(operand),
      { rows, columns: wide } = value,
      found = new Float64Array(rows * wide);
    for (let row = 0; row < rows; row += 1) {
      const best = new Map(); // the place of the largest number by its group; nan is larger than all
      groups.forEach((group, i) => {
        const [old, now] = [entry(value, row, best.get(group) ?? i), entry(value, row, i)];
        if (!best.has(group) || now > old || (Number.isNaN(now) && !Number.isNaN(old))) best.set(group, i);
      });
      for (const i of best.values()) found[row * wide + i] = 1;
    }
    return matrix(rows, wide, found);
  },
  Beside: (of, left, right) => {
    const [first, second] = [of(left), of(right)],
      wide = first.columns + second.columns,
      numbers = new Float64Array(first.rows * wide);
    for (let row = 0; row < first.rows; row += 1)
      for (let i = 0; i < wide; i += 1)
        numbers[row * wide + i] = i < first.columns ? entry(first, row, i) : entry(second, row, i - first.columns);
    return matrix(first.rows, wide, numbers);
  },
  Contraction: (of, left, right, columns, shape, overRows) => {
    const [a, b] = [of(left), of(right)],
      [sum, from, by] = columns.map((column) => program.places[column]);
    return collected(a.rows, shape, overRows, (sums, row) => {
      const [x, w] = [row * a.columns, overRows ? row * b.columns : 0]; // the right one is of rows too, or a parameter
      for (let i = 0; i < sum.length; i += 1) sums[sum[i]] += a.numbers[x + from[i]] * b.numbers[w + by[i]];
    });
  },
});

/* The element of such a node with its numbers; `at` writes that of a tree under it. */
Object.assign(WRITTEN, {
  Gather: ([, operand, index, shape], row, column, values, at) => {
    if (!shape) return at(operand, row, index[column]);
    const wide = shape.length > 1 ? total(shape) / shape[0] : total(shape);
    const place = index[(shape.length > 1 ? row * wide : 0) + column],
      { columns: below } = valueOf(operand, values);
    return at(operand, Math.floor(place / below), place % below);
  },
  Folded: ([, operand, wide], row, column, values, at) => {
    const place = row * wide + column,
      { columns: below } = valueOf(operand, values);
    return at(operand, Math.floor(place / below), place % below);
  },
  FirstLargest: (tree, row, column, values, at) => at(entry(valueOf(tree, values), row, column)),
  Collect: ([, operand, index, shape, overRows], row, column, values, at, digits) => {
    const wide = shape.length > 1 ? total(shape) / shape[0] : total(shape),
      sum = overRows && shape.length > 1 ? row * wide + column : column;
    const rows = overRows ? valueOf(operand, values).rows : 1,
      parts = [];
    for (let r = 0; r < rows; r += 1)
      index.forEach((target, unit) => target === sum && parts.push(at(operand, overRows ? r : row, unit)));
    return sumOf(shortened(parts, digits));
  },
  Beside: ([, left, right], row, column, values, at) => {
    const { columns: wide } = valueOf(left, values);
    return column < wide ? at(left, row, column) : at(right, row, column - wide);
  },
  Contraction: ([, left, right, columns, shape, overRows], row, column, values, at, digits) => {
    const [a, b] = [valueOf(left, values), valueOf(right, values)],
      [sums, from, by] = columns.map((place) => program.places[place]),
      target = overRows && shape.length > 1 ? (row * total(shape)) / shape[0] + column : column,
      parts = [];
    for (let r = overRows ? 0 : row; r < (overRows ? a.rows : row + 1); r += 1)
      sums.forEach((sum, i) => {
        if (sum !== target) return;
        const other = overRows ? [r, by[i]] : [Math.floor(by[i] / b.columns), by[i] % b.columns];
        parts.push(productOf([at(left, r, from[i]), at(right, ...other)]));
      });
    return sumOf(shortened(parts, digits));
  },
});
