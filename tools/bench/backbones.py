"""Large pictures through networks of timm on one core: as a fill and ``--features`` show them, few
at a time, channels-last and with normalisations folded into convolutions; the same in bf16
(``zoo fill --precision bf16``); without folding; and as many as 1 GiB of activations holds, one
channel after the other.

The networks have random weights; pictures of 224 x 224 are random too. Counted are CPU seconds of
one thread, pictures normalised. Printed: milliseconds of a picture, and the ratio of both.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Sequence

import timm
import torch
from torch import nn

from tools.bench.paired import Side, interleave, print_table, ratios, settings, spread
from zoo.fill.fold import for_answers
from zoo.spec import Preprocessing
from zoo.training.loop import evaluation_batch
from zoo.training.tensors import normalise

__all__ = ["main", "sides"]

NETWORKS = (
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "resnet50",
    "vgg16",
    "vit_small_patch16_224",
)
_SIDE, _BEFORE = 224, 41
_SHOWN = Preprocessing(size=_SIDE, channels=3, fit="crop", mean=(0.5,) * 3, std=(0.2,) * 3)


def sides(network: nn.Module, raw: torch.Tensor) -> dict[str, Side]:
    """The ways of asking a network about pictures, uint8 [n, S, S, 3]: CPU seconds."""
    cpu = torch.device("cpu")
    folded = for_answers(copy.deepcopy(network), channels_last=True)
    halved = for_answers(copy.deepcopy(network), channels_last=True, half=True)

    def asked(
        network: nn.Module, batch: int, last: bool, half: bool = False
    ) -> Callable[[], float]:
        def side() -> float:
            began = time.process_time()
            with (
                torch.inference_mode(),
                torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
            ):
                for start in range(0, len(raw), batch):
                    network(normalise(raw[start : start + batch], _SHOWN, channels_last=last))
            return time.process_time() - began

        return side

    few = evaluation_batch(_SIDE, cpu)
    return {
        "now": asked(folded, few, True),
        "bf16": asked(halved, few, True, True),
        "unfolded": asked(network, few, True),
        "before": asked(network, _BEFORE, False),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row per network."""
    options = settings(str(__doc__), rounds=3, argv=argv)
    torch.set_num_threads(1)
    rows = []
    for name in NETWORKS[:1] if options.quick else NETWORKS:
        pictures = 5 if options.quick else _BEFORE
        raw = torch.randint(0, 256, (pictures, _SIDE, _SIDE, 3), dtype=torch.uint8)
        network = timm.create_model(name, pretrained=False, num_classes=0).eval()
        found = interleave(sides(network, raw), options.rounds)
        each = {side: spread([1e3 * s / pictures for s in took]) for side, took in found.items()}
        rows.append(
            {
                "network": name,
                **{f"{side}, ms": times.text() for side, times in each.items()},
                "bf16 / now": ratios(found["bf16"], found["now"]).text(),
                "now / unfolded": ratios(found["now"], found["unfolded"]).text(),
                "now / before": ratios(found["now"], found["before"]).text(),
            }
        )
    print_table(rows, "CPU time of a picture on one thread")
    return 0


if __name__ == "__main__":
    sys.exit(main())
