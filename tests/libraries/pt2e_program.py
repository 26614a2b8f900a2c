"""PT2E quantisation of a converted network. torchao is no requirement of the tests: it is large, and warns on import.

.venv/bin/pip install torchao==0.18.0 && .venv/bin/python -m tests.libraries.pt2e_program
"""

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

from tests.libraries.networks import NETWORKS, both


def quantised(network, x):
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.export(network.eval(), (x,)).module(), quantizer)
    prepared(x)
    return convert_pt2e(prepared)


def main():
    for name in NETWORKS:
        torch.manual_seed(0)
        torchs, ours, x = both(name)
        expected, found = quantised(torchs, x), quantised(ours, x)
        count = found.code.count("quantize_per")
        assert count == expected.code.count("quantize_per") > 0, name
        torch.testing.assert_close(found(x), expected(x))
        print(f"{name}: {count} quantised values, and the same numbers")


if __name__ == "__main__":
    main()
