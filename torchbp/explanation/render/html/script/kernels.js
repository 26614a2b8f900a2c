/* The kernels of a convolution as squares: blue where a number is positive, orange where it is negative, the stronger the
   larger. Each row of kernels has another first place in the parameter, and each column another second one. */
const SQUARE = 12, // pixels
  MOST_KERNELS = 8; // of each row and of each column

/* The name of the first kernel in a tree: of what a convolution multiplies the numbers of a row by. */
function kernelIn(tree) {
  if (!Array.isArray(tree)) return undefined;
  const right = tree[2];
  return tree[0] === "Contraction" && data.shapes[right] ? right : tree.map(kernelIn).find(Boolean);
}
const kernels = Object.values(program.trees).map(kernelIn).filter(Boolean),
  ofKernels = kernels.flatMap((name) => [name, program.gradients[name], program.next[name]]);

cardPictures.push((card, { name, stage }) => {
  card.querySelector(".kernels")?.remove();
  const kernel = ofKernels.includes(name) ? name : stage !== "backward" && kernelIn(program.trees[name]);
  if (!kernel) return;
  const [rows, columns, ...inside] = data.shapes[kernel],
    wide = inside.at(-1),
    high = total(inside) / wide;
  const { numbers } = training.values[kernel],
    most = Math.max(...numbers.map(Math.abs)) || 1;
  const [down, across] = [rows, columns].map((count) => Math.min(count, MOST_KERNELS));
  const some = down < rows || across < columns ? `first ${down}×${across} of the ${rows}×${columns} ` : "";
  const size = (count, of) => count * (of + 1) * SQUARE;
  const svg = draw("svg", { width: size(across, wide), height: size(down, high), role: "img" });
  svg.setAttribute("aria-label", `The ${some}kernels of ${shownName(kernel)}: blue is positive, orange is negative`);
  for (let row = 0; row < down; row += 1)
    for (let column = 0; column < across; column += 1)
      for (let at = 0; at < high * wide; at += 1) {
        const number = numbers[(row * columns + column) * high * wide + at],
          hue = number < 0 ? "negative" : "positive",
          style = `fill:var(--${hue});fill-opacity:${Math.abs(number) / most};stroke:var(--line)`;
        const [x, y] = [size(column, wide) + (at % wide) * SQUARE, size(row, high) + Math.floor(at / wide) * SQUARE];
        draw("rect", { x: x + 1, y: y + 1, width: SQUARE, height: SQUARE, style, class: hue }, svg);
      }
  const caption = element("figcaption", `${svg.getAttribute("aria-label")}.`, "muted"),
    figure = element("figure", "", "kernels scroll", [svg, caption]);
  figure.style.margin = ".6rem 0";
  card.querySelector(".why").after(figure);
});
