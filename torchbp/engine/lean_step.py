"""A step without its checks of what seldom changes: the rules of the last step are kept, with a program for them."""

from operator import is_

import torch

from torchbp.engine.compiled import cached
from torchbp.engine.losses import evaluator
from torchbp.engine.straight_line import straight_line
from torchbp.engine.update_rule import common_rate, update_rules


class LeanStep:
    """`step` of an optimizer's network, as straight-line code.

    What a rule is made of are the parameters, the entries of the groups, what the optimizer keeps of each parameter,
    and which members are active. While these are the same objects as in the last step, its rules are used again.
    """

    def __init__(self, optimizer):
        self.optimizer, self.network, self.loss = optimizer, optimizer.network, optimizer.loss
        self.evaluate = evaluator(self.loss, self.network.members)
        self.tables = [table for _, table in self.network.tables]
        self.programs, self.objects, self.kept = {}, None, None

    def arguments(self):
        """Parameters, rules and rate for `program`; the kinds of rules; and the state that begins with this step."""
        objects = self._objects()
        last = self.objects
        if last is None or len(objects) != len(last) or not all(map(is_, objects, last)):
            return self._made_anew(objects)
        for tensor, version in self.versions:
            if tensor._version != version:
                return self._made_anew(objects)
        return self.kept

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
        found.append(optimizer.active)
        return found

    def _made_anew(self, objects):
        parameters = self.network.parameters()
        rules, begun = update_rules(self.optimizer, parameters)
        rate, rules = common_rate(rules)
        kinds = tuple(tuple(rule and rule.kind for rule in of_layer) for of_layer in rules)
        rules = [
            tuple(rule.rate if kind == "rate" else rule for rule, kind in zip(*pair, strict=True))
            for pair in zip(rules, kinds, strict=True)
        ]
        self.kept = parameters, rules, rate, kinds, begun
        self.objects = None
        options = [option for group in self.optimizer.param_groups for option in group.values()]
        tensors = [t for option in (*options, self.optimizer.active) for t in tensors_in(option)]
        if not begun and not any(t.is_inference() for t in tensors):  # which count no versions
            self.objects = objects
            self.versions = [(t, t._version) for t in tensors]
        return self.kept

    def program(self, kinds, rate, keeps_output=False):
        key = kinds, rate is not None, keeps_output
        arguments = self.network, self.evaluate, kinds, rate is not None, keeps_output
        return self.programs.get(key) or cached(self.programs, key, lambda: straight_line(*arguments))


def tensors_in(option):
    """The tensors of an option, whose numbers may change in place: itself, or those of a tuple, as the betas."""
    return [t for t in (option if isinstance(option, tuple) else [option]) if isinstance(t, torch.Tensor)]
