"""The step of one network as straight-line Python: of a small network, half of a step's time was spent on loops and
lookups that find the same each time.

The lines are those that `step` and `Network` go through: which formula runs on what, and when a tensor is freed. For
2-4-1 with SGD they are

    (p0_0, p0_1, ), (p1_0, p1_1, ), = parameters
    (r0_0, r0_1, ), (r1_0, r1_1, ), = rules
    z0 = x
    z1 = forward_0(z0, p0_0, p0_1)
    z2 = forward_1(z1)
    del z1
    z3 = forward_2(z2, p1_0, p1_1)
    value, dz3, scale = loss(z3, y, True)
    del z3
    ones = network.ones(dz3)
    dz2 = backward_2(dz3, z2, p1_0, p1_1)
    accumulate_all_1(p1_0, p1_1, dz3, z2, ones, r1_0 * scale)
    del dz3
    dz1 = backward_1(dz2, z2)
    del z2, dz2
    accumulate_all_0(p0_0, p0_1, dz1, z0, ones, r0_0 * scale)
    return value
"""

import functools
import linecache

from torchbp.engine.network.rows import rows_of_members
from torchbp.ops._accumulate import per_member


class Lines:
    """Lines of a program, each with the names that it assigns and reads."""

    def __init__(self):
        self.lines, self.names = [], {}

    def add(self, text, assigns=(), reads=()):
        self.lines.append((text, assigns, reads))

    def source(self, head, kept):
        """The function's text, in which a name is deleted after the last line that reads it, but for those kept."""
        last = {name: place for place, (_, _, reads) in enumerate(self.lines) for name in reads}
        text = [head]
        for place, (line, assigns, _) in enumerate(self.lines):
            text.append(line)
            last |= {name: place for name in assigns if last.get(name, -1) < place}  # nobody reads it
            if done := [name for name, at in last.items() if at == place and name not in kept]:
                text.append(f"del {', '.join(done)}")
        return "\n    ".join(text)


def straight_line(network, loss, kinds, is_scaled, keeps_output, is_only_member=False):
    """A function of (parameters, rules, rate, x, y), the step; it returns L, or with keeps_output the network's output.

    Args:
        network: a `Network`. loss: `evaluator(loss, …)` of `torchbp.engine.losses`.
        kinds: of each parameter, None if it does not learn, "rate" if its update is p ← p + rate dL/dp, whose rate then
            stands for its rule, "all" if the rate is also a number and that of all of the layer, and "rule" otherwise.
        is_scaled: whether `rate`, a number for each member, is multiplied into dL/dŷ once for all parameters.
        is_only_member: whether parameters and rows have a dimension of members that the network does not know.
    """
    formulas, lines = {"network": network, "loss": loss, "per_member": per_member}, Lines()
    places = range(len(kinds))
    for letter, values in (("p", "parameters"), ("r", "rules")):
        of_layers = ["".join(f"{letter}{place}_{i}, " for i in range(len(kinds[place]))) for place in places]
        lines.add("".join(f"({names}), " for names in of_layers) + f"= {values}")
    arguments = ["".join(f", p{place}_{i}" for i in range(len(kinds[place]))) for place in places]
    if is_only_member:
        for name in (f"p{place}_{i}" for place in places for i in range(len(kinds[place]))):
            lines.add(f"{name} = None if {name} is None else {name}.squeeze(0)")
        lines.add("z0 = x if x.dim() == 2 else rows_of_members(x, 1).squeeze(0)", ["z0"])
        formulas["rows_of_members"] = rows_of_members
    elif network.members:
        lines.add("z0 = rows_of_members(x, members)", ["z0"])
        formulas |= {"rows_of_members": rows_of_members, "members": network.members}
    else:
        lines.add("z0 = x", ["z0"])
    saved = _add_forward(network, lines, formulas, arguments)
    _add_loss(lines, len(network.steps), is_scaled, keeps_output)
    _add_backward(network, lines, formulas, arguments, saved, kinds)
    lines.add("return output" if keeps_output else "return value", (), ["output" if keeps_output else "value"])
    text = lines.source("def step(parameters, rules, rate, x, y):", ("output", "value", "scale", "ones", "z0"))
    exec(_compiled(text), formulas)
    return formulas["step"]


def _add_forward(network, lines, formulas, arguments):
    """Add the lines of `Network.forward`; the names of what each of its steps saves are returned."""
    saved, overwrite = [], False
    for i, step in enumerate(network.steps):
        of_layer = "" if step.place is None else arguments[step.place]
        formulas[f"forward_{i}"] = step.forward_ if overwrite and step.place is None else step.forward
        out = [f"z{i + 1}", f"s{i}"] if step.saves == "returned" else [f"z{i + 1}"]
        lines.add(f"{', '.join(out)} = forward_{i}(z{i}{of_layer})", out, [f"z{i}"])
        saved.append({"input": f"z{i}", "output": f"z{i + 1}", "returned": f"s{i}"}[step.saves])
        overwrite = step.saves == "input" and step.new_memory
    return saved


def _add_loss(lines, last, is_scaled, keeps_output):
    names = [] if keeps_output else ["value"]
    lines.add(
        f"{'_' if keeps_output else 'value'}, dz{last}, scale = loss(z{last}, y, {not keeps_output})",
        [*names, f"dz{last}", "scale"],
        [f"z{last}"],
    )
    if keeps_output:
        lines.add(f"output = z{last}", ["output"], [f"z{last}"])
    if is_scaled:
        lines.add(f"dz{last}.mul_(per_member(rate * scale, dz{last}))", (), [f"dz{last}", "scale"])
        lines.add("scale = 1", ["scale"])
    lines.add(f"ones = network.ones(dz{last})", ["ones"], [f"dz{last}"])


def _add_backward(network, lines, formulas, arguments, saved, kinds):
    """Add the lines of `Network.backward`, and those of each parameter's update."""
    lowest = next((place for place, of_layer in enumerate(kinds) if any(of_layer)), len(kinds))
    overwrite = True
    for i, step in reversed(list(enumerate(network.steps))):
        dz, needed = f"dz{i + 1}", saved[i]
        if step.place is None or step.place > lowest:
            of_layer = "" if step.place is None else arguments[step.place]
            formulas[f"backward_{i}"] = step.backward_ if overwrite and step.place is None else step.backward
            lines.add(f"dz{i} = backward_{i}({dz}, {needed}{of_layer})", [f"dz{i}"], [dz, needed])
        if step.place is None:
            continue
        for k, kind in enumerate(kinds[step.place]):
            accumulate, of_ones = network.accumulate[step.place][k]
            name, read = f"{step.place}_{k}", "ones" if of_ones else needed
            formulas[f"accumulate_{name}"] = accumulate
            if kind == "all" and network.accumulate_all[step.place] is not None:
                if k == 0:
                    formulas[f"accumulate_all_{step.place}"] = network.accumulate_all[step.place]
                    call = f"{arguments[step.place][2:]}, {dz}, {needed}, ones, r{name} * scale"
                    lines.add(f"accumulate_all_{step.place}({call})", (), [dz, needed, "scale"])
            elif kind in ("rate", "all"):
                lines.add(f"accumulate_{name}(p{name}, {dz}, {read}, 1, r{name} * scale)", (), [dz, read, "scale"])
            elif kind == "rule":
                lines.add(f"r{name}.descend(p{name}, scale, accumulate_{name}, {dz}, {read})", (), [dz, read, "scale"])
        if step.place <= lowest:
            return
        overwrite = step.new_memory


@functools.lru_cache(1024)
def _compiled(text):
    name = f"<torchbp: the step of a network, {hash(text)}>"
    linecache.cache[name] = len(text), None, [f"{line}\n" for line in text.split("\n")], name  # for a traceback
    return compile(text, name, "exec")
