"""A step without its checks of what seldom changes: the rules of the last step are kept, with a program for them."""

from operator import is_

import torch

from torchbp.engine.losses import evaluator, evaluator_of_only_member
from torchbp.engine.native.compiled import cached
from torchbp.engine.optimizers.straight_line import straight_line
from torchbp.engine.optimizers.update_rule import common_rate, update_rules


class LeanStep:
    """`step` of an optimizer's network, as straight-line code.

    What a rule is made of are the parameters, the entries of the groups, what the optimizer keeps of each parameter,
    and which members are active. While these are the same objects as in the last step, its rules are used again.
    """

    def __init__(self, optimizer):
        self.optimizer, self.network = optimizer, optimizer.network
        one = self.network.of_only_member() if self.network.members == 1 else None
        self.is_only_member, self.run = one is not None, one or self.network
        self.tables = [table for _, table in self.network.tables]
        self.objects = self.kept = self.loss = None

    def prepared(self, keeps_output=False):
        """Parameters, rules and rate, for the function `step`; that function; and the state that begins with the step.

        `step` returns L, or with keeps_output the network's output.
        """
        objects = self._objects()
        last = self.objects
        if last is None or len(objects) != len(last) or not all(map(is_, objects, last)) or self._have_changed():
            self._make_anew(objects)
        parameters, rules, rate, kinds, begun = self.kept
        if keeps_output not in self.steps:
            self.steps[keeps_output] = self._step(kinds, rate is not None, keeps_output)
        return parameters, rules, rate, self.steps[keeps_output], begun

    def _have_changed(self):
        """Whether numbers of the options were changed in place."""
        return any(tensor._version != version for tensor, version in self.versions) if self.versions else False

    def _objects(self):
        """All that rules are made of."""
        optimizer, found = self.optimizer, []
        for table in self.tables:
            found += table.values()
        parameters = [p for p in found if p is not None]
        found.append(parameters[0].get_device())  # all are on one, or the step fails before it changes anything
        found += [p.requires_grad for p in parameters]
        found += [p.dtype for p in parameters]
        for group in optimizer.param_groups:
            found += group.values()
            found += group["params"]
        for state in optimizer.state.values():
            found += state.values()
        found += (optimizer.active, optimizer.loss)
        return found

    def _make_anew(self, objects):
        if self.loss is not self.optimizer.loss:
            self.loss, self.programs = self.optimizer.loss, {}
            members = self.network.members
            self.evaluate = (
                evaluator_of_only_member(self.loss) if self.is_only_member else evaluator(self.loss, members)
            )
        parameters = self.network.parameters()
        rules, begun = update_rules(self.optimizer, parameters)
        rate, rules = common_rate(rules)
        if self.is_only_member:
            rules = [tuple(rule and rule.of_members(0) for rule in of_layer) for of_layer in rules]
        kinds = tuple(map(kinds_of, rules))
        rules = [
            tuple(rule if kind in (None, "rule") else rule.rate for rule, kind in zip(*pair, strict=True))
            for pair in zip(rules, kinds, strict=True)
        ]
        self.kept, self.steps, self.objects = (parameters, rules, rate, kinds, begun), {}, None
        options = [option for group in self.optimizer.param_groups for option in group.values()]
        tensors = [t for option in (*options, self.optimizer.active) for t in tensors_in(option)]
        if not begun and not any(t.is_inference() for t in tensors):  # which count no versions
            self.objects = objects
            self.versions = [(t, t._version) for t in tensors]

    def _step(self, *key):
        return cached(self.programs, key, lambda: straight_line(self.run, self.evaluate, *key, self.is_only_member))


def tensors_in(option):
    """The tensors of an option, whose numbers may change in place: itself, or those of a tuple, as the betas."""
    return [t for t in (option if isinstance(option, tuple) else [option]) if isinstance(t, torch.Tensor)]


def kinds_of(rules):
    """For `straight_line`, the kind of each rule of a layer."""
    kinds = tuple(rule and rule.kind for rule in rules)
    if len(rules) > 1 and set(kinds) == {"rate"}:
        rates = {None if isinstance(rule.rate, torch.Tensor) else rule.rate for rule in rules}
        if len(rates) == 1 and None not in rates:
            return ("all",) * len(rules)
    return kinds
