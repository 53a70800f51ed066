"""The kernels of convolutions on a GPU, run by Triton's interpreter: answers and gradients of many
networks are torch's in float64, to float32's rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton comes with torch's builds for CUDA"
)
CASES = {
    # networks, pictures, in, out, high, wide, kernel, stride, padding, bias, channels last
    "few channels": (2, 3, 3, 16, 9, 7, 3, 1, 1, False, False),
    "a step of two, a bias": (3, 2, 16, 20, 8, 8, 3, 2, 1, True, False),
    "odd sides, channels last": (2, 2, 24, 12, 7, 9, 5, 2, 2, True, True),
    "one tap, more than a tile of channels": (2, 2, 70, 66, 5, 5, 1, 2, 0, False, False),
    "no padding": (2, 2, 6, 16, 8, 8, 5, 1, 0, True, False),
}
CODE = """
import json, sys, torch
from torch.nn.functional import conv2d
from zoo.training import convolution

given = json.loads(sys.argv[1])
convolution._LARGE = given["large"]
found = {}
for name, case in given["cases"].items():
    k, n, c, o, high, wide, side, stride, pad, biased, last = case
    torch.manual_seed(0)
    exact = [torch.randn(n, k, c, high, wide), torch.randn(k, o, c, side, side)]
    exact += [torch.randn(k, o)] if biased else []
    mine = [values.clone() for values in exact]
    if last:
        mine[0] = mine[0].permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)
    exact, mine = ([v.to(kind).requires_grad_() for v in each]
                   for each, kind in ((exact, torch.float64), (mine, torch.float32)))
    x, w, *b = exact
    answer = torch.stack([conv2d(x[:, i], w[i], b[0][i] if b else None, stride, pad)
                          for i in range(k)])
    given_back = torch.randn_like(answer)
    answer.backward(given_back)
    x, w, *b = mine
    got = torch.func.vmap(
        lambda x, w, *b: convolution.convolve(x, w, b[0] if b else None, stride, (pad, pad)),
        in_dims=(1, 0, 0)[: len(mine)],
    )(x, w, *b)
    got.backward(given_back.float())
    pairs = [(got, answer), *((m.grad, e.grad) for m, e in zip(mine, exact))]
    found[name] = [float((a.detach().double() - r.detach()).norm() / r.detach().norm())
                   for a, r in pairs]
print(json.dumps(found))
"""


def differences(cases: dict[str, tuple[object, ...]], large: int) -> dict[str, list[float]]:
    """Relative differences of the answer and of each gradient, by case. ``large``: products of a
    network above which a gradient of weights is cuDNN's (here torch's on the CPU)."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps({"cases": cases, "large": large})],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def test_answers_and_gradients_are_torchs() -> None:
    for name, each in differences(CASES, 2**25).items():
        assert max(each) < 1e-6, (name, each)


def test_the_gradient_of_many_weights_from_many_pixels_is_left_to_torch_and_is_the_same() -> None:
    name = "a step of two, a bias"
    (each,) = differences({name: CASES[name]}, 0).values()
    assert max(each) < 1e-6
