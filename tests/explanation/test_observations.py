"""What is said of a step, and, as much as that, where it must not be said."""

import itertools
import re
from types import SimpleNamespace

import pytest
import torch

import torchbp
from tests.explanation.samples import XOR, xor
from torchbp.explanation.observations.whole_step import overshot

ALIKE, PROBABILITIES, VANISHES, UP = "they stay equal for ever", "would not learn here", "vanishes", "The loss went up"
SATURATED = "is saturated"


def said(net, x=XOR[0], y=XOR[1], **settings):
    return " ".join(torchbp.explain(net, x, y, **settings).observations)


def alike(layers=1, bias=True):
    """Hidden units that are copies of one another."""
    torch.manual_seed(0)
    sizes = [2, *[3] * layers, 1]
    pairs = [[torch.nn.Linear(*pair, bias=bias), torch.nn.Tanh()] for pair in itertools.pairwise(sizes)]
    net = torch.nn.Sequential(*itertools.chain(*pairs))[:-1].double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p[:1].expand_as(p) if p.dim() == 1 or p.shape[1] == 2 else p[:1, :1].expand_as(p))
    return net


def train(net):
    """20 steps, as each of them is explained."""
    optimizer = torch.optim.SGD(net.parameters(), lr=3.0)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(XOR[0].double()), XOR[1].double()).backward()
        optimizer.step()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_copies_stay_equal(layers, bias):
    net = alike(layers, bias)
    assert said(net).count(ALIKE) == layers
    train(net)
    assert (net[0].weight - net[0].weight[0]).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.weight"])
def test_what_differs_in_anything_does_not_stay_equal(name):
    net = alike()
    with torch.no_grad():
        net.get_parameter(name).view(-1)[0] += 0.5
    assert ALIKE not in said(net)
    train(net)
    assert (net[0].weight - net[0].weight[0]).abs().max() > 1e-3


def test_next_weights_with_opposite_signs_do_not_stay_equal_though_all_gradients_are_0():
    """All hidden gradients are 0 and equal, since the two rows cancel; but the next weights differ."""
    net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
    explanation = torchbp.explain(net, [[1.0], [1.0]], [[0.0], [1.0]])
    assert not explanation["dL/dW1"].tensor.any()
    assert ALIKE not in " ".join(explanation.observations)


def test_units_that_are_off_do_not_stay_equal_where_their_biases_differ():
    net = torchbp.nn.MLP(2, 2, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.fill_(0.1), net[2].weight.fill_(0.5)
        net[0].bias.fill_(-1)
        assert ALIKE in said(net)
        net[0].bias[1] -= 1
    assert ALIKE not in said(net)


def answer(z, y, **settings):
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.ones_(net.weight)
    return said(net, [z], [y], **settings)


@pytest.mark.parametrize(
    ("z", "y", "expected"),
    [
        (40.0, 0.0, True),
        (-40.0, 1.0, True),
        (40.0, 0.5, True),
        (40.0, 1.0, False),  # right, and so sure that 1 − A is 0
        (-40.0, 0.0, False),
        (30.0, 1.0, False),
        (36.0, 1.0, False),
        (3.0, 0.0, False),  # wrong, and not saturated
        (15.0, 0.0, False),
        (0.0, 1.0, False),
    ],
)
def test_probabilities_would_not_learn_only_where_the_network_is_wrong_and_saturated(z, y, expected):
    assert (PROBABILITIES in answer(z, y)) == expected


def test_the_place_that_is_named_is_the_wrong_row():
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.ones_(net.weight)
    text = said(net, [[40.0], [-40.0], [40.0]], [[1.0], [1.0], [1.0]])
    assert "factors of dL/dZ1[2,1] multiply to −1.416e−06" in text
    assert PROBABILITIES not in said(net, [[40.0], [-40.0], [0.1]], [[1.0], [0.0], [1.0]])


def stack(activations, gain, depth=4, end=(), **settings):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layers += [torch.nn.Linear(4, 4), *(activation() for activation in activations)]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(4, 1), *(activation() for activation in end)).double()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.orthogonal_(layer.weight, gain)
                layer.bias.fill_(0.1)
    return said(net, torch.rand(5, 4, dtype=torch.float64), torch.ones(5, 1), **settings)


CAUSES = {"sigmoid units", "tanh units", "relu units that are off", "weights, which are small"}


@pytest.mark.parametrize(
    ("activations", "gain", "cause"),
    [
        ([torch.nn.Sigmoid], 0.8, "sigmoid units"),
        ([torch.nn.Sigmoid], 0.1, "weights, which are small"),
        ([torch.nn.Tanh], 0.2, "weights, which are small"),
        ([torch.nn.ReLU], 0.2, "weights, which are small"),
        ([], 0.2, "weights, which are small"),
        ([torch.nn.Tanh, torch.nn.Sigmoid], 0.9, "sigmoid units"),  # one after the other
    ],
)
@pytest.mark.parametrize("end", [[], [torch.nn.Sigmoid], [torch.nn.Tanh]])
def test_help_against_vanishing_is_for_what_takes_it_away(activations, gain, cause, end):
    """Not for the last activation, through which it has not yet gone where it is measured."""
    loss = torch.nn.MSELoss() if end == [torch.nn.Tanh] else None
    text = stack(activations, gain, end=end, loss=loss)
    assert VANISHES in text
    assert cause in text
    assert not any(other in text for other in CAUSES - {cause})


def test_relu_units_that_are_off_are_named_where_they_take_the_gradient_away():
    net = torchbp.nn.MLP(1, 1000, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1)
        net[0].bias[1:] = -2
        net[2].weight[0, 0] = 0.001
    text = said(net, [1.0], [5.0], loss=torch.nn.MSELoss())
    assert VANISHES in text
    assert "Most is lost in the relu units that are off" in text


@pytest.mark.parametrize("end", [[], [torch.nn.Sigmoid()]])
def test_tanh_units_are_named_where_they_take_the_gradient_away(end):
    """Nor is a sigmoid blamed that comes after all of it."""
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Tanh(), torch.nn.Linear(1, 1), *end).double()
    with torch.no_grad():
        net[0].weight.fill_(5), net[2].weight.fill_(1)
    text = said(net, [1.0], [0.0])
    assert "Most is lost in the tanh units" in text
    assert "0.25" not in text


@pytest.mark.parametrize("activations", [[torch.nn.Tanh], [torch.nn.ReLU], []])
def test_a_gradient_that_arrives_has_not_vanished(activations):
    assert VANISHES not in stack(activations, 1.0)


def trained(end, hidden, sign=1.0):
    """Of one unit in each of its layers; its answer to 1 is almost 1 or, with the other sign, almost 0."""
    layers = [torch.nn.Linear(1, 1), *hidden, torch.nn.Linear(1, 1), *end]
    net = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(20)
        net[len(hidden) + 1].bias.fill_(0)
        net[len(hidden) + 1].weight.fill_(20 * sign)
    return net


ENDS = [  # the last activation, the loss, the sign, and the y that is right
    ([], None, 1.0, 1.0),
    ([], None, -1.0, 0.0),
    ([torch.nn.Sigmoid()], None, 1.0, 1.0),
    ([torch.nn.Sigmoid()], torch.nn.MSELoss(), -1.0, 0.0),
    ([torch.nn.Tanh()], torch.nn.MSELoss(), -1.0, -1.0),
    ([], torch.nn.MSELoss(), 1.0, 19.5),
]


@pytest.mark.parametrize("hidden", [[torch.nn.Tanh()], [torch.nn.Sigmoid()], [torch.nn.Sigmoid(), torch.nn.Tanh()]])
@pytest.mark.parametrize(("end", "loss", "sign", "y"), ENDS)
def test_nothing_is_advised_to_a_network_that_is_right(end, loss, sign, y, hidden):
    """Its hidden units are saturated, and so is its answer, which is what it should be."""
    net = trained(end, hidden, sign)
    if len(hidden) == 2:  # its tanh is 0.76
        net[3].weight.data.mul_(1.3)
    text = said(net, [1.0], [y], loss=loss)
    assert "help" not in text
    assert SATURATED not in text
    text = said(net, [1.0], [0.0 if y else 1.0], loss=loss)
    assert SATURATED in text
    assert f"slope of {type(hidden[0]).__name__.lower()} " in text


def test_saturation_is_counted_in_the_rows_that_are_wrong():
    net = trained([], [torch.nn.Tanh()])
    assert said(net, [[-1.0], [1.0]], [[0.0], [1.0]]) == ""  # the first is 0.5
    assert "All of A1 is saturated in the rows with wrong answers" in said(net, [[-1.0], [1.0]], [[0.5], [0.0]])
    many = torch.nn.Sequential(torch.nn.Linear(1, 400), torch.nn.Tanh(), torch.nn.Linear(400, 1)).double()
    with torch.no_grad():
        many[0].weight.fill_(9), many[0].bias.zero_(), many[2].weight.fill_(0.01)
        many[0].weight[0] = 0
    text = said(many, [1.0], [0.0])
    assert "399 of 400 numbers of A1 are saturated" in text  # not all, nor 100%


@pytest.mark.parametrize(("x", "unscaled"), [(1.0, False), (4.9, False), (5.1, True), (100.0, True)])
def test_scaled_inputs_are_advised_where_they_are_not(x, unscaled):
    assert ("scaled inputs" in said(trained([], [torch.nn.Tanh()]), [x], [0.0])) == unscaled


def test_answers_without_weight_in_the_loss_are_not_wrong():
    net = torchbp.nn.MLP(1, 3, 2, activation="tanh", dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.fill_(50), net[2].weight.zero_()
        net[2].bias.copy_(torch.tensor([9.0, 9.0]))
    loss = torch.nn.BCEWithLogitsLoss(weight=torch.tensor([1.0, 0.0]))
    assert SATURATED not in said(net, [1.0], [1.0, 0.0], loss=loss)
    assert SATURATED in said(net, [1.0], [0.0, 1.0], loss=loss)


def test_all_units_of_a_relu_layer_are_off():
    net = torchbp.nn.MLP(2, 3, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.copy_(torch.arange(6).reshape(3, 2)), net[0].bias.fill_(-9)
    assert "All units of A1 are off: the slope of relu is 0 there" in said(net, [0.1, 0.2], [1.0])
    assert "are off" not in said(net, [2.0, 2.0], [1.0])
    with torch.no_grad():
        net[2].bias.fill_(20)
    text = said(net, [0.1, 0.2], [1.0])  # it is right
    assert "All units of A1 are off: the slope of relu is 0 there" in text
    assert "help" not in text


@pytest.mark.parametrize(
    ("end", "z", "y", "helps"),
    [
        (torch.nn.Sigmoid(), 9.0, 0.0, "The cross-entropy, BCEWithLogitsLoss without the last Sigmoid, helps"),
        (torch.nn.Sigmoid(), 9.0, 5.0, "A network that does not end with sigmoid helps"),
        (torch.nn.Tanh(), -9.0, 1.0, "A network that does not end with tanh helps"),
        (torch.nn.ReLU(), -9.0, 1.0, "A network that does not end with relu helps"),
        (torch.nn.ReLU(), -9.0, 0.0, ""),
        (torch.nn.Sigmoid(), 2.0, 0.0, ""),
    ],
)
def test_a_last_activation_that_holds_a_wrong_answer(end, z, y, helps):
    net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), end).double()
    torch.nn.init.ones_(net[0].weight)
    text = said(net, [z], [y], loss=torch.nn.MSELoss())
    assert text.endswith(f"{helps}: it has no such factor." if "cross-entropy" in helps else helps and f"{helps}.")
    assert text.startswith("A1[1,1] = " if helps else "")


def test_a_loss_of_probabilities_that_does_not_learn():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Sigmoid()).double()
    torch.nn.init.ones_(net[0].weight)
    text = said(net, [[40.0], [1.0]], [[0.0], [0.0]])
    assert "BCELoss does not learn here: A1[1,1] has rounded to almost 0 or 1" in text
    assert "dL/dZ1[1,1] multiply to 0, although the true derivative is 0.5." in text
    assert text.endswith("BCEWithLogitsLoss without the last Sigmoid helps: it has no such product.")
    assert said(net, [[40.0], [20.0]], [[1.0], [0.0]]) == ""
    weighted = torch.nn.BCELoss(weight=torch.tensor([3.0]))
    assert "the true derivative is 3." in said(net, [40.0], [0.0], loss=weighted)


def one_hidden(hidden, z, answer):
    """A unit with the input z, whose weight above is almost 0, and a logit."""
    net = torch.nn.Sequential(torch.nn.Linear(1, len(z)), hidden, torch.nn.Linear(len(z), 1)).double()
    with torch.no_grad():
        net[0].weight.zero_(), net[0].bias.copy_(torch.tensor(z))
        net[2].weight.fill_(1e-9), net[2].bias.fill_(answer)
    return net


@pytest.mark.parametrize(
    ("hidden", "z", "flat"),
    [
        (torch.nn.Sigmoid(), 4.55, False),
        (torch.nn.Sigmoid(), 4.65, True),
        (torch.nn.Sigmoid(), -4.65, True),
        (torch.nn.Tanh(), 2.95, False),
        (torch.nn.Tanh(), -3.05, True),
    ],
)
def test_a_slope_under_a_hundredth_is_saturated(hidden, z, flat):
    assert (SATURATED in said(one_hidden(hidden, [z], 0.0), [1.0], [1.0])) == flat


@pytest.mark.parametrize(("many", "expected"), [(5, False), (6, True)])
def test_more_than_half_of_the_units_are_saturated(many, expected):
    text = said(one_hidden(torch.nn.Tanh(), [9.0 + i for i in range(many)] + [0.0] * (10 - many), 0.0), [1.0], [1.0])
    assert (f"{many} of 10 numbers of A1 are saturated" in text) == expected


@pytest.mark.parametrize(
    ("answer", "y", "loss", "far"),
    [
        (2.25, 1.0, None, False),  # σ is 0.905
        (2.15, 1.0, None, True),  # and 0.896
        (91.0, 100.0, torch.nn.MSELoss(), False),  # a tenth of the largest y
        (89.0, 100.0, torch.nn.MSELoss(), True),
        (0.0092, 0.01, torch.nn.MSELoss(), False),
        (0.0088, 0.01, torch.nn.MSELoss(), True),
    ],
)
def test_an_answer_is_wrong_from_a_tenth_on(answer, y, loss, far):
    assert (SATURATED in said(one_hidden(torch.nn.Tanh(), [9.0], answer), [1.0], [y], loss=loss)) == far


@pytest.mark.parametrize(("times", "expected"), [(95, False), (105, True)])
def test_a_hundredth_of_the_gradient_has_vanished(times, expected):
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)).double()
    torch.nn.init.constant_(net[1].weight, 1 / times)
    text = said(net, [1.0], [9.0], loss=torch.nn.MSELoss())
    assert (f", {times} times less. Most is lost in the weights, which are small" in text) == expected


@pytest.mark.parametrize(("by", "expected"), [(-1.0, False), (15.0, False), (17.0, True), (float("nan"), True)])
def test_a_loss_that_rises_by_more_than_rounding_went_up(by, expected):
    loss = torch.tensor(0.5, dtype=torch.float64)
    new = loss.item() * (1 + by * torch.finfo(torch.float64).eps)
    explanation = SimpleNamespace(loss=0.5, new_loss=new, values={"L": loss}, slope=lambda: 1.0)
    assert bool(list(overshot(explanation))) == expected


def test_ordinary_units_are_not_saturated_and_an_ordinary_step_goes_down():
    assert xor().observations == []
    assert SATURATED not in stack([torch.nn.Tanh], 1.0)
    assert UP in answer(1.0, 0.0, lr=100.0, loss=torch.nn.MSELoss())
    assert UP in answer(1.0, 0.0, lr=1e300, loss=torch.nn.MSELoss())  # to inf
    net = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.fill_(1), net[1].weight.copy_(torch.tensor([[1.0, -1.0]]))
    assert UP in said(net, [1.0], [5.0], lr=1e300, loss=torch.nn.MSELoss())  # to inf − inf
    assert UP not in answer(1.0, 1.0, lr=1.0, loss=torch.nn.MSELoss())  # it is 0, and stays 0
    assert UP not in answer(1.0, 0.0, lr=0.1, loss=torch.nn.MSELoss())


def one_weight(w, buffer=0.0, **settings):
    """A weight w, the answer to x = 1, as SGD goes on from a momentum buffer."""
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(net.weight, w)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, **settings)
    if buffer:
        optimizer.state[net.weight]["momentum_buffer"] = torch.full((1, 1), buffer, dtype=torch.float64)
    return net, optimizer


@pytest.mark.parametrize(
    ("settings", "buffer", "expected"),
    [
        ({"momentum": 0.9}, 5.0, "the step led uphill, since it follows earlier gradients beside this gradient."),
        ({"weight_decay": 9.0}, 0.0, "the step led uphill, since it follows weight decay beside this gradient."),
        ({"momentum": 0.9}, -500.0, "the step was too long."),
    ],
)
def test_a_step_that_leads_uphill_is_not_too_long(settings, buffer, expected):
    net, optimizer = one_weight(1.0, buffer, **settings)
    text = said(net, [1.0], [2.0], loss=torch.nn.MSELoss(), optimizer=optimizer)
    assert f"{UP}: {expected}" in text


def test_with_weight_decay_a_step_without_a_gradient_changes_something():
    x, y, loss = [[1.0], [1.0]], [[0.0], [2.0]], torch.nn.MSELoss()
    net, optimizer = one_weight(1.0, weight_decay=0.5)
    assert "cancel: the step changes nothing. This is" in said(net, x, y, loss=loss)
    assert "cancel. This is" in said(net, x, y, loss=loss, optimizer=optimizer)


def test_help_against_an_overflow_is_for_what_makes_it():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    steps = torchbp.explain(net, [1.0], [5.0], lr=1e30, loss=torch.nn.MSELoss(), steps=9).steps
    assert "overflow" not in " ".join(steps[0].observations)
    assert "A smaller learning rate, smaller first weights, scaled inputs or a dtype" in " ".join(steps[8].observations)
    huge = said(net.double(), [1e300], [5.0], loss=torch.nn.MSELoss())
    assert "Smaller first weights or scaled inputs help." in huge


def test_layers_have_their_numbers_beside_a_first_layer_that_does_not_learn():
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(2, elementwise_affine=False)
    net = torch.nn.Sequential(norm, torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    explanation = torchbp.explain(net, [1.0, 2.0], [1.0])
    for text in (explanation.to_text(), explanation.to_html()):
        assert re.findall(r"(?:<li><span>|^  )(layer \d)", text, re.MULTILINE) == ["layer 3", "layer 2"]


@pytest.mark.parametrize(
    ("last", "loss", "target", "twice"),
    [
        (torch.nn.Softmax(1), torch.nn.CrossEntropyLoss(), [0, 1, 2, 0], "softmax is applied twice"),
        (torch.nn.Sigmoid(), torch.nn.BCEWithLogitsLoss(), torch.rand(4, 3).round(), "sigmoid is applied twice"),
        (torch.nn.LogSoftmax(1), torch.nn.CrossEntropyLoss(), [0, 1, 2, 0], ""),  # changes nothing
        (torch.nn.Sigmoid(), torch.nn.BCELoss(), torch.rand(4, 3).round(), ""),
        (torch.nn.Tanh(), torch.nn.BCEWithLogitsLoss(), torch.rand(4, 3).round(), ""),
    ],
)
def test_what_network_and_loss_both_apply_is_said_to_be_applied_twice(last, loss, target, twice):
    explanation = torchbp.explain(torch.nn.Sequential(torch.nn.Linear(2, 3), last), XOR[0], target, loss=loss)
    found = [sentence for sentence in explanation.observations if "applied twice" in sentence]
    assert [sentence.startswith(twice) for sentence in found] == [True] * bool(twice)
    if twice:  # what it says of the answers is true
        answers = explanation.step.criterion.answers_of(last(100 * torch.eye(3)))
        assert answers.max() < 0.75


def sure(*last):
    """In float16 an answer that is sure is 0 or 1, and nothing between."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), *last)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[20.0, 0], [0, 20], [0, 0]])), net[0].bias.zero_()
    return net.half()


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("loss", [torch.nn.CrossEntropyLoss(), torch.nn.BCEWithLogitsLoss()])
def test_a_slope_that_nothing_is_computed_from_may_overflow(loss, right):
    """The loss of logits computes dL/dZ in one formula: no smaller weights and no other dtype are needed."""
    y = [0, 1] if right else [1, 2]
    y = torch.eye(3)[y] if isinstance(loss, torch.nn.BCEWithLogitsLoss) else y
    explanation = torchbp.explain(sure(), torch.eye(2), y, loss=loss)
    assert not explanation["dL/dA1"].tensor.isfinite().all()
    assert explanation["dL/dZ1"].tensor.isfinite().all()
    found = " ".join(explanation.observations)
    assert f"Nothing is computed from it: {type(loss).__name__} computes dL/dZ1 in one formula." in found
    assert "Numbers overflow" not in found
    assert [check for record in explanation.records for check in record.checks if check.ok is False] == []


def test_a_slope_that_the_gradient_is_computed_from_overflows():
    """A loss of probabilities refuses nan after the step; it is explained all the same."""
    explanation = torchbp.explain(sure(torch.nn.Sigmoid()), torch.eye(2), torch.eye(3)[[1, 2]], loss=torch.nn.BCELoss())
    assert "Numbers overflow: dL/dA1 holds inf or nan" in explanation.observations[0]
    assert torch.tensor(explanation.new_loss).isnan()
    assert [check for record in explanation.records for check in record.checks if check.ok is False] == []


def test_a_gradient_below_the_least_numbers_of_its_dtype_is_not_off():
    explanation = torchbp.explain(
        sure(torch.nn.Softmax(1)), torch.eye(2), torch.eye(3)[[1, 2]], loss=torch.nn.MSELoss()
    )
    assert not explanation["dL/dZ1"].tensor.any()
    assert [check for record in explanation.records for check in record.checks if check.ok is False] == []


def test_right_answers_are_their_y_and_no_more_is_said():
    explanation = torchbp.explain(sure().float(), torch.eye(2), [0, 1], loss=torch.nn.CrossEntropyLoss())
    assert explanation.observations[-1].startswith(
        "The minimum is reached: each answer is its y, and the gradient's norm"
    )
