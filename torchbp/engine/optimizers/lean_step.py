"""A step without its checks of what seldom changes: the rules of the last step are used again."""

from functools import partial

import torch

from torchbp.engine.losses import evaluator, evaluator_of_only_member
from torchbp.engine.optimizers.rule_inputs import RuleInputs
from torchbp.engine.optimizers.straight_line import straight_line
from torchbp.engine.optimizers.update_rule import common_rate, update_rules
from torchbp.engine.recently_used import cached


class LeanFunctions:
    """The steps of a network with a loss as straight-line code, a function for each kind of rules."""

    def __init__(self, network, loss):
        one = network.of_only_member() if network.members == 1 else None
        self.is_only_member, self.network = one is not None, one or network
        self.evaluate = evaluator_of_only_member(loss) if self.is_only_member else evaluator(loss, network.members)
        self.functions = {}

    def arguments(self, rules):
        """What a function of `function` takes for these rules, (rules, rate); and the kinds that it is for."""
        rate, rules = common_rate(rules)
        if self.is_only_member:
            rules = [tuple(rule and rule.of_members(0) for rule in of_layer) for of_layer in rules]
        kinds = tuple(map(kinds_of, rules))
        rules = [
            tuple(rule if kind in (None, "rule") else rule.rate for rule, kind in zip(*pair, strict=True))
            for pair in zip(rules, kinds, strict=True)
        ]
        return rules, rate, kinds

    def step_of(self, parameters, rules):
        """The step of these parameters by these rules, a function of x and y."""
        rules, rate, kinds = self.arguments(rules)
        return partial(self.function(kinds, rate is not None), parameters, rules, rate)

    def function(self, kinds, is_scaled, keeps_output=False):
        key = kinds, is_scaled, keeps_output
        return cached(
            self.functions, key, lambda: straight_line(self.network, self.evaluate, *key, self.is_only_member)
        )


class LeanStep:
    """`step` of an optimizer's network, as straight-line code."""

    def __init__(self, optimizer):
        self.optimizer, self.network, self.inputs = optimizer, optimizer.network, RuleInputs(optimizer)
        self.loss, self.functions = optimizer.loss, LeanFunctions(optimizer.network, optimizer.loss)

    @property
    def is_only_member(self):
        return self.functions.is_only_member

    def prepared(self, keeps_output=False):
        """Parameters, rules and rate, for the function `step`; that function; and the state that begins with the step.

        `step` returns L, or with keeps_output the network's output.
        """
        if self.inputs.have_changed():
            self._make_anew()
        parameters, rules, rate, kinds, begun = self.made
        if keeps_output not in self.steps:
            self.steps[keeps_output] = self.functions.function(kinds, rate is not None, keeps_output)
        return parameters, rules, rate, self.steps[keeps_output], begun

    def _make_anew(self):
        if self.loss is not self.optimizer.loss:
            self.loss = self.optimizer.loss
            self.functions = LeanFunctions(self.network, self.loss)
        parameters = self.network.parameters()
        rules, begun = update_rules(self.optimizer, parameters)
        rules, rate, kinds = self.functions.arguments(rules)
        self.made, self.steps = (parameters, rules, rate, kinds, begun), {}
        if begun:
            self.inputs.forget()
        else:
            self.inputs.remember()


def kinds_of(rules):
    """For `straight_line`, the kind of each rule of a layer."""
    kinds = tuple(rule and rule.kind for rule in rules)
    if len(rules) > 1 and set(kinds) == {"rate"}:
        rates = {None if isinstance(rule.rate, torch.Tensor) else rule.rate for rule in rules}
        if len(rates) == 1 and None not in rates:
            return ("all",) * len(rules)
    return kinds
