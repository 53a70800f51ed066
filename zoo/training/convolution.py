"""Convolutions of many networks on one GPU, as kernels of Triton.

What ``torch.func.vmap`` makes of K convolutions is one grouped convolution, and cuDNN has no good
answer to many groups of a few channels: in float32 it works on the groups one after the other or
moves everything first. Here a program computes a tile of one network's pictures by all taps, reads
and writes any layout where it lies, and sums nothing in an order that could change.

Products are made of three of TF32 each (``tf32x3``), whose error is that of float32. The gradient
of many weights from many pixels stays with cuDNN, which is good at it, and so does bf16, for which
it has kernels of many groups. Shape letters: K networks, B pictures of each, C channels, H W a
picture.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["convolve"]

_LARGEST = 2**31 - 1
"""Numbers of a tensor that the kernels can count; larger ones are left to torch."""
_PROGRAMS = 1024
"""Programs that fill a GPU."""
_FEW = 16
"""Input channels below which a tile of them and one tap were mostly empty."""
_LARGE = 2**25
"""Products of one network in a gradient of weights above which cuDNN's is faster than this one."""


@triton.jit  # type: ignore[untyped-decorator]
def _tap(  # type: ignore[no-untyped-def]
    r, rows: tl.constexpr, columns: tl.constexpr
):
    """Numbers of weights of an answer's channel as they are counted here, taps of a channel side by
    side: (channel, row, column)."""
    return r // (rows * columns), r // columns % rows, r % columns


@triton.jit(do_not_specialize=["pixels", "height", "width", "high", "wide"])  # type: ignore[untyped-decorator]
def _output(  # type: ignore[no-untyped-def]
    x, w, bias, y,
    pixels, height, width, high, wide,
    xk, xb, xc, xh, xw,
    wk, wo, wc, wh, ww,
    yk, yb, yc, yh, yw,
    inputs: tl.constexpr, outputs: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
    stride: tl.constexpr, apart: tl.constexpr, top: tl.constexpr, left: tl.constexpr,
    biased: tl.constexpr, few: tl.constexpr,
    tile: tl.constexpr, deep: tl.constexpr, across: tl.constexpr,
):  # fmt: skip
    """A tile of pixels of a network's answer, ``across`` channels of it, summed over ``deep`` input
    channels at a time. height x width of the answer, high x wide of what is read; its pixels lie
    ``apart`` rows and columns apart, zeros between. ``few`` channels are read with their taps."""
    k = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * tile + tl.arange(0, tile)
    o = tl.program_id(2) * across + tl.arange(0, across)
    column, row, picture = p % width, p // width % height, p // (width * height)
    x += k * xk
    w += k * wk
    found = tl.zeros((tile, across), dtype=tl.float32)
    if few:
        for first in range(0, inputs * rows * columns, deep):
            channel, i, j = _tap(first + tl.arange(0, deep), rows, columns)
            r = (row * stride - top)[:, None] + i[None, :]
            c = (column * stride - left)[:, None] + j[None, :]
            there = (p < pixels)[:, None] & (channel < inputs)[None, :] & (r >= 0) & (c >= 0)
            if apart > 1:
                there = there & (r % apart == 0) & (c % apart == 0)
                r, c = r // apart, c // apart
            there = there & (r < high) & (c < wide)
            place = (picture * xb)[:, None] + r * xh + c * xw + (channel * xc)[None, :]
            seen = tl.load(x + place, mask=there, other=0.0)
            weights = tl.load(
                w + (channel * wc + i * wh + j * ww)[:, None] + (o * wo)[None, :],
                mask=(channel < inputs)[:, None] & (o < outputs)[None, :],
                other=0.0,
            )
            found = tl.dot(seen, weights, found, input_precision="tf32x3")
    else:
        for tap in range(rows * columns):
            i, j = tap // columns, tap % columns
            r, c = row * stride - top + i, column * stride - left + j
            there = (p < pixels) & (r >= 0) & (c >= 0)
            if apart > 1:
                there = there & (r % apart == 0) & (c % apart == 0)
                r, c = r // apart, c // apart
            there = there & (r < high) & (c < wide)
            place = picture * xb + r * xh + c * xw
            for first in range(0, inputs, deep):
                channel = first + tl.arange(0, deep)
                seen = tl.load(
                    x + place[:, None] + (channel * xc)[None, :],
                    mask=there[:, None] & (channel < inputs)[None, :],
                    other=0.0,
                )
                weights = tl.load(
                    w + (channel * wc)[:, None] + (o * wo)[None, :] + i * wh + j * ww,
                    mask=(channel < inputs)[:, None] & (o < outputs)[None, :],
                    other=0.0,
                )
                found = tl.dot(seen, weights, found, input_precision="tf32x3")
    if biased:
        found += tl.load(bias + k * outputs + o, mask=o < outputs, other=0.0)[None, :]
    tl.store(
        y + k * yk + (picture * yb + row * yh + column * yw)[:, None] + (o * yc)[None, :],
        found,
        mask=(p < pixels)[:, None] & (o < outputs)[None, :],
    )


@triton.jit(do_not_specialize=["pixels", "height", "width", "high", "wide", "part"])  # type: ignore[untyped-decorator]
def _weights(  # type: ignore[no-untyped-def]
    x, y, found,
    pixels, height, width, high, wide, part,
    xk, xb, xc, xh, xw,
    yk, yb, yc, yh, yw,
    inputs: tl.constexpr, outputs: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
    stride: tl.constexpr, top: tl.constexpr, left: tl.constexpr,
    tile: tl.constexpr, deep: tl.constexpr, across: tl.constexpr,
):  # fmt: skip
    """What ``part`` pixels of a network, a tile at a time, add to the gradient of ``across`` x
    ``deep`` weights; y: the gradient of the answer. ``found``: [parts, K, outputs, inputs *
    taps]."""
    k = tl.program_id(1).to(tl.int64)
    weights: tl.constexpr = inputs * rows * columns
    blocks: tl.constexpr = (weights + deep - 1) // deep
    own = (tl.program_id(2) % blocks) * deep + tl.arange(0, deep)
    channel, i, j = _tap(own, rows, columns)
    o = tl.program_id(2) // blocks * across + tl.arange(0, across)
    x += k * xk
    y += k * yk
    begin = tl.program_id(0) * part
    end = tl.minimum(begin + part, pixels)
    sums = tl.zeros((across, deep), dtype=tl.float32)
    for start in range(begin, end, tile):
        p = start + tl.arange(0, tile)
        column, row, picture = p % width, p // width % height, p // (width * height)
        r = (row * stride - top)[None, :] + i[:, None]
        c = (column * stride - left)[None, :] + j[:, None]
        there = (p < end)[None, :] & (own < weights)[:, None] & (r >= 0) & (c >= 0)
        there = there & (r < high) & (c < wide)
        place = (picture * xb)[None, :] + r * xh + c * xw + (channel * xc)[:, None]
        seen = tl.load(x + place, mask=there, other=0.0)
        given = tl.load(
            y + (picture * yb + row * yh + column * yw)[None, :] + (o * yc)[:, None],
            mask=(p < end)[None, :] & (o < outputs)[:, None],
            other=0.0,
        )
        sums = tl.dot(given, tl.trans(seen), sums, input_precision="tf32x3")
    place = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + k
    tl.store(
        found + (place * outputs + o)[:, None] * weights + own[None, :],
        sums,
        mask=(o < outputs)[:, None] & (own < weights)[None, :],
    )


def _block(channels: int, most: int = 64) -> int:
    """Channels of a tile: a power of two, 16 at least."""
    return max(16, min(most, 1 << (channels - 1).bit_length()))


def _output_tile(inputs: int, outputs: int) -> tuple[int, int, int, int]:
    """(pixels, input channels, output channels, warps) of a program of ``_output``: fastest of six
    on an H200 at 16, 32 and 64 channels of 32, 16 and 8 pixels."""
    across = _block(outputs)
    return (256, 16, across, 8) if inputs > 32 else (128, 16, across, 4)


def _weights_tile(weights: int, outputs: int) -> tuple[int, int, int, int]:
    """(pixels, weights of a channel, channels, warps) of a program of ``_weights``, likewise."""
    return 32, _block(weights, 64 if outputs > 16 else 32), _block(outputs), 4


def _answer(
    x: Tensor, w: Tensor, bias: Tensor | None, size: tuple[int, int], step: int, apart: int,
    padding: tuple[int, int],
) -> Tensor:  # fmt: skip
    """[B, K, O, *size] of x [B, K, C, H, W] and w [K, O, C, h, w]."""
    pictures, networks, inputs, high, wide = x.shape
    outputs, rows, columns = w.shape[1], w.shape[3], w.shape[4]
    y = x.new_empty(pictures, networks, outputs, *size)
    pixels = pictures * size[0] * size[1]
    few = inputs < _FEW
    p, c, o, warps = _output_tile(inputs * rows * columns if few else inputs, outputs)
    (xb, xk, xc, xh, xw), (yb, yk, yc, yh, yw) = x.stride(), y.stride()
    _output[triton.cdiv(pixels, p), networks, triton.cdiv(outputs, o)](
        x, w, w if bias is None else bias, y,
        pixels, *size, high, wide,
        xk, xb, xc, xh, xw, *w.stride(), yk, yb, yc, yh, yw,
        inputs, outputs, rows, columns, step, apart, *padding, bias is not None, few,
        p, c, o, num_warps=warps,
    )  # fmt: skip
    return y


def _of_weights(
    x: Tensor, y: Tensor, kernel: tuple[int, int], stride: int, padding: tuple[int, int]
) -> Tensor:
    """The gradient [K, O, C, h, w] of weights; y: that of the answer."""
    pictures, networks, inputs, high, wide = x.shape
    outputs, height, width = y.shape[2:]
    pixels, weights = pictures * height * width, inputs * kernel[0] * kernel[1]
    if inputs >= _FEW and pixels * outputs * weights > _LARGE:
        of_all: Tensor = torch.ops.aten.convolution_backward(
            *(y.flatten(1, 2), x.flatten(1, 2)),
            x.new_empty(networks * outputs, inputs, *kernel),
            *(None, [stride] * 2, padding, [1, 1], False, [0, 0], networks),
            [False, True, False],
        )[1]
        return of_all.view(networks, outputs, inputs, *kernel)
    p, c, o, warps = _weights_tile(weights, outputs)
    tiles = triton.cdiv(weights, c) * triton.cdiv(outputs, o)
    parts = max(1, min(pixels // (4 * p), _PROGRAMS // (networks * tiles)))
    part = triton.cdiv(triton.cdiv(pixels, parts), p) * p
    parts = triton.cdiv(pixels, part)
    found = torch.empty(parts, networks, outputs, weights, device=x.device)
    (xb, xk, xc, xh, xw), (yb, yk, yc, yh, yw) = x.stride(), y.stride()
    _weights[parts, networks, tiles](
        x, y, found, pixels, height, width, high, wide, part,
        xk, xb, xc, xh, xw, yk, yb, yc, yh, yw,
        inputs, outputs, *kernel, stride, *padding, p, c, o, num_warps=warps,
    )  # fmt: skip
    summed = found.sum(0) if parts > 1 else found[0]
    return summed.view(networks, outputs, inputs, *kernel)


class _Many(torch.autograd.Function):
    """Of all networks at once: x [B, K, C, H, W], w [K, O, C, h, w], bias [K, O] or None."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.stride, ctx.padding, ctx.biased = stride, padding, bias is not None
        size = tuple(
            (side + 2 * pad - kernel) // stride + 1
            for side, pad, kernel in zip(x.shape[3:], padding, w.shape[3:], strict=True)
        )
        bias = None if bias is None else bias.contiguous()
        return _answer(x, w, bias, (size[0], size[1]), stride, 1, padding)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        (y,) = given
        of_x = of_w = of_bias = None
        rows, columns = w.shape[3:]
        if ctx.needs_input_grad[0]:
            back = w.flip(3, 4).transpose(1, 2)
            padding = rows - 1 - ctx.padding[0], columns - 1 - ctx.padding[1]
            of_x = _answer(y, back, None, tuple(x.shape[3:]), 1, ctx.stride, padding)
        if ctx.needs_input_grad[1]:
            of_w = _of_weights(x, y, (rows, columns), ctx.stride, ctx.padding)
        if ctx.biased and ctx.needs_input_grad[2]:
            of_bias = y.sum((0, 3, 4))
        return of_x, of_w, of_bias, None, None


class _One(torch.autograd.Function):
    """Of one network under ``vmap``, which asks ``_Many`` for all."""

    @staticmethod
    def forward(
        x: Tensor, w: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
    ) -> Tensor:
        found: Tensor = _Many.apply(
            x[:, None], w[None], None if bias is None else bias[None], stride, padding
        )
        return found[:, 0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing: the gradient is that of ``_Many``."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, w: Tensor, bias: Tensor | None,
        stride: int, padding: tuple[int, int],
    ) -> tuple[Tensor, int]:  # fmt: skip
        def spread(values: Tensor, dim: int | None, to: int) -> Tensor:
            if dim is None:
                return values.unsqueeze(to).expand(
                    *values.shape[:to], info.batch_size, *values.shape[to:]
                )
            return values.movedim(dim, to)

        x, w = spread(x, in_dims[0], 1), spread(w, in_dims[1], 0)
        bias = None if bias is None else spread(bias, in_dims[2], 0)
        answers = x.numel() // x.shape[2] * w.shape[1]
        if max(x.numel(), answers) > _LARGEST:
            flat = None if bias is None else bias.flatten()
            networks = w.shape[0]
            found = torch.conv2d(
                *(x.flatten(1, 2), w.flatten(0, 1), flat, stride, padding), groups=networks
            )
            return found.view(len(x), networks, -1, *found.shape[2:]), 1
        return _Many.apply(x, w, bias, stride, padding), 1


def convolve(
    x: Tensor, w: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]
) -> Tensor:
    """``torch.nn.functional.conv2d`` without groups or dilation, of one network under
    ``torch.func.vmap``.

    Args:
        x: float32 [B, C, H, W], any layout.
        w: [O, C, h, w].
        bias: [O] or None.
    """
    found: Tensor = _One.apply(x, w, bias, stride, padding)
    return found
