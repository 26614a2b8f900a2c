/* A formula that the reader types, as a tree: "∂L/∂A1 ∘ A1", "dZ1ᵀ X", "dZ1.T @ X". A space multiplies matrices, and
   numbers such as α. */
const SAME_FUNCTION = { sigmoid: "σ", log: "ln" },
  SUMS = { Σₙ: (of) => ["SumOver", of, true], sum: (of) => ["SumOver", of, true], Σₖ: (of) => ["SumOfRow", of], Σ: (of) => ["SumOver", of, false] },
  RAISED_TO = { "²": 2, "³": 3 };
const isLetter = (token) => /^\.?[\p{L}\d]/u.test(token ?? "") && token !== ".T";

/* Whether a tree holds a quantity of the network; y, α, N and K are written as numbers are. */
function isTensor(tree) {
  if (typeof tree === "string") return /\d|X/.test(tree) && !(tree in program.constants);
  return Array.isArray(tree) && tree.slice(1).flat().some(isTensor);
}

function formulaOf(text, known) {
  const names = new Map([["lr", program.rate_name]]);
  const aliases = (name) => [name, name.replace("dL/", ""), name.replace("/", "_"), name.replace(/′$/, "_new")];
  for (const name of known) aliases(name).forEach((alias) => names.set(alias, name));
  const functions = [...Object.keys(FUNCTIONS), ...Object.keys(FUNCTIONS_OF_TWO), ...Object.keys(SAME_FUNCTION)];
  const words = [...names.keys(), ...functions, ...Object.keys(SUMS)].sort((a, b) => b.length - a.length);
  const all = new RegExp(`[NK](?=[NK]*(?![\\w′]))|(?:${words.join("|")})(?![\\w′])|(?:\\d+\\.?\\d*|\\.\\d+)(?:e[-−+]?\\d+)?|\\.T|\\*\\*|[<>]=|[\\w′]+|\\S`, "gu");
  const tokens = text.replaceAll("∂", "d").replaceAll("'", "′").match(all) ?? [];
  let ofNumbers = false;
  const take = (...wanted) => (wanted.includes(tokens[0]) ? tokens.shift() : "");
  const close = (bracket) => {
    if (!take(bracket)) throw new Error(`A bracket is missing: ${bracket}`);
  };
  const sum = () => {
    const terms = [];
    for (let sign = take("-", "−", "+"); sign || !terms.length; sign = take("-", "−", "+")) {
      const term = product();
      terms.push(sign && sign !== "+" ? ["Negative", term] : term);
    }
    return terms.length > 1 ? ["Sum", terms] : terms[0];
  };
  const product = () => {
    let tree = beside();
    for (let mark = take("*", "·", "∘", "/", "@"); mark; mark = take("*", "·", "∘", "/", "@")) {
      const right = beside();
      tree = mark === "/" ? ["Quotient", tree, right] : mark === "@" ? ["MatrixProduct", tree, right] : ["Product", [tree, right]];
    }
    return tree;
  };
  const beside = () => {
    let tree = power();
    while (isLetter(tokens[0]) || ["(", "["].includes(tokens[0])) {
      const right = power();
      tree = !ofNumbers && isTensor(tree) && isTensor(right) ? ["MatrixProduct", tree, right] : ["Product", [tree, right]];
    }
    return tree;
  };
  const power = () => {
    let tree = atom();
    for (let mark = take("ᵀ", ".T", "²", "³", "^", "**"); mark; mark = take("ᵀ", ".T", "²", "³", "^", "**"))
      tree = "ᵀ.T".includes(mark) ? ["Transpose", tree] : ["Power", tree, RAISED_TO[mark] ?? exponent()];
    return tree;
  };
  const exponent = () => (take("-", "−") ? ["Negative", atom()] : atom());
  const atom = () => {
    const token = tokens.shift();
    if (names.has(token)) return names.get(token);
    if (token === "sum") return SUMS[token](power());
    if (token in SUMS) {
      const before = ofNumbers; // in a sum of all elements each product is one of numbers
      ofNumbers = token === "Σ";
      const inside = product();
      ofNumbers = before;
      return SUMS[token](inside);
    }
    if (functions.includes(token)) {
      if (!take("(")) return ["Call", SAME_FUNCTION[token] ?? token, [power()]];
      const inside = [sum()];
      while (take(",")) inside.push(sum());
      close(")");
      return ["Call", SAME_FUNCTION[token] ?? token, inside];
    }
    if (/^\.?\d/.test(token ?? "")) return Number(token.replace("−", "-"));
    if (token === "(" || token === "[") {
      const left = sum(),
        relation = take(">", "<", "≥", "≤", ">=", "<=").replace(">=", "≥").replace("<=", "≤");
      const tree = relation ? ["Indicator", left, relation, sum()] : left;
      close(token === "(" ? ")" : "]");
      return tree;
    }
    throw new Error(token ? `“${token}” is not known here, or stands in the wrong place.` : "The formula ends too early.");
  };
  const tree = sum();
  if (tokens.length) throw new Error(`There is nothing that “${tokens[0]}” belongs to.`);
  return tree;
}
