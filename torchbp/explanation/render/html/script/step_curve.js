const { points, chosen, minimum, says } = data.rates;
const slider = document.getElementById("rate");
let marker = null,
  scale = null;

/* The loss by the learning rate, whose axis is logarithmic. Losses far above the first are cut off. */
function drawCurve() {
  if (!points.length) return;
  const box = document.getElementById("curve"),
    width = box.clientWidth,
    height = 210,
    left = 76, // room for 1.23e−123
    bottom = height - 26;
  const finite = points.map(([, loss]) => loss).filter((loss) => loss !== null);
  const low = Math.min(...finite, data.loss),
    high = Math.min(Math.max(...finite, data.loss), data.loss + 1.2 * (data.loss - low || data.loss || 1));
  const logs = points.map(([rate]) => Math.log10(rate)),
    first = logs[0],
    span = logs.at(-1) - first;
  // what is too high, or no number, lies out of sight
  const y = (loss) => Math.max(bottom - (((loss ?? Infinity) - low) / (high - low || 1)) * (bottom - 16), -99);
  scale = (i) => [left + ((logs[i] - first) / span) * (width - left - 14), y(points[i][1])];
  const svg = draw("svg", { width, height, role: "img", "aria-label": "Loss after the step, by the learning rate" });
  draw("path", { class: "axis", d: `M${left} 8V${bottom}H${width - 6}`, fill: "none" }, svg);
  draw("path", { class: "before", d: `M${left} ${y(data.loss)}H${width - 6}` }, svg);
  draw("text", { x: left - 6, y: y(data.loss) + 4, "text-anchor": "end" }, svg, format(data.loss, 3));
  if (y(low) - y(data.loss) > 18)
    draw("text", { x: left - 6, y: y(low) + 4, "text-anchor": "end" }, svg, format(low, 3));
  draw("text", { x: left, y: height - 6 }, svg, `α = ${format(points[0][0], 3)}`);
  draw("text", { x: width - 6, y: height - 6, "text-anchor": "end" }, svg, `α = ${format(points.at(-1)[0], 3)}`);
  draw(
    "path",
    {
      class: "line",
      d: points
        .map(
          (_, i) =>
            `${i ? "L" : "M"}${scale(i)
              .map((v) => v.toFixed(1))
              .join(" ")}`,
        )
        .join(""),
    },
    svg,
  );
  if (minimum !== null) {
    const [x, at] = scale(minimum),
      near = x > width - 110 ? "end" : "start";
    draw("path", { class: "best", d: `M${x} ${at - 7}l7 7l-7 7l-7 -7z` }, svg);
    draw("text", { x: x + (near === "end" ? -11 : 11), y: at - 6, "text-anchor": near }, svg, "minimum");
  }
  marker = draw("circle", { class: "here", r: 6 }, svg);
  box.replaceChildren(svg);
}

function showRate() {
  const after = document.getElementById("after"),
    best = document.getElementById("best");
  if (!points.length) {
    slider.disabled = true;
    after.textContent = says;
    return;
  }
  const [rate, loss] = points[slider.value],
    [x, y] = scale(slider.value);
  marker.setAttribute("cx", x);
  marker.setAttribute("cy", Math.max(y, 8));
  const text = `α = ${format(rate, 3)}: the loss goes from ${format(data.loss)} to ${format(loss)}`;
  after.textContent = text;
  slider.setAttribute("aria-valuetext", text);
  best.textContent = says;
}
