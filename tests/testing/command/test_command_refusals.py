"""What `torchbp check` cannot run: status 2 and one line, which says what to do."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "audited:Multiply",
            "needs inputs for (input, weight): --inputs pkg.mod:make_inputs, or for example --shape 3,4 3,4",
        ),
        ("audited:Multply --shape 3", "audited has no Multply; did you mean Multiply?"),
        ("audited --shape 3", "'audited' must be of the form pkg.mod:Name"),
        ("nowhere:f --shape 3", "cannot import nowhere"),
        ("./src/audited.py:f --shape 3", "./src/audited.py is a file; name its module: src.audited:f"),
        ("audited:CODES --shape 3", "audited:CODES is a dict, and nothing that can be called"),
        ("audited:Needs --shape 3", "audited:Needs needs arguments"),
        ("audited:Multiply --shape 3 4", "Multiply raises RuntimeError"),
        ("audited:Layer", "needs inputs for (image): --inputs pkg.mod:make_inputs, or for example --shape 2,5,8,8"),
        (
            "audited:product",
            "needs inputs for (a, b, c, d, e, f): --inputs pkg.mod:make_inputs, or for example --shape 4,4 4,4 ",
        ),
        ("audited:Rows", "for example --shape 3,3"),
        ("torch:matmul", "torch:matmul needs inputs: --inputs pkg.mod:make_inputs, or for example --shape 3,4 4,2"),
        ("torch.nn.functional:linear", "for example --shape 3,4 3,4"),
        ("audited:Rows --shape 3,4", "mat1 and mat2 shapes cannot be multiplied"),
        ("audited:factory", "audited:factory raises ValueError: no memory"),
        ("audited:Multiply --inputs audited:no_inputs", "audited:no_inputs raises ValueError: no data"),
        ("torch:sin --shape 3,x", "--shape must be sizes such as 3,4, not '3,x'"),
        ("torch:sin --shape -3", "--shape must be sizes such as 3,4, not '-3'"),
        ("torch:sin --shape 99999999999999", "--shape raises RuntimeError"),
        ("torch:sin --shape 3 --timeout nan", "--timeout must be a positive"),
        ("torch:sin --shape 3 --timeout inf", "--timeout must be a positive"),
        ("torch:sin --shape 3 --timeout -1", "--timeout must be a positive"),
        ("torch:sin --shape 3 --seed 99999999999999999999", "seed must be between"),
        ("torch:sin --shape 3 --checks value", "there is no check 'value'; did you mean values?"),
        ("torch:sin --shape 3 --level most", "invalid choice: 'most'"),
        ("torch:sin --shape 3 --timeout 0", "--timeout must be a positive"),
    ],
)
def test_what_cannot_run_has_status_2_and_one_line(run_here, arguments, message):
    refused(run_here(arguments), message)


@pytest.mark.parametrize("arguments", ["audited:crashes_at_once", "audited:loops_at_once --timeout 1"])
@pytest.mark.processes
def test_an_example_of_inputs_is_tried_in_a_process_that_may_die(run, arguments):
    refused(run(arguments), "needs inputs for (x): --inputs pkg.mod:make_inputs, or for example --shape 3,4")


def refused(result, message):
    status, out, err = result
    assert (status, out) == (2, "")
    assert err.startswith("torchbp: error: ")
    assert message in err
    assert len(err.splitlines()) == 1
