"""Table 1 of ContextWM (arXiv:2305.18499), computed from an image encoder that was built."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import nn

from models.nets.resnet import ImageEncoder, ResidualLayer


def encoder_table(encoder: nn.Module, size: int) -> list[tuple[str, str, str]]:
    """Stage, output size, and layers, as the paper's Table 1 prints them; empty for an encoder without such stages.

    Output sizes, behind the pooling, are measured by a pass of one frame: what is built, not what the config says.

    Args:
        encoder: an image encoder.
        size: height and width of the frames.
    """
    if not isinstance(encoder, ImageEncoder) or any(not stage.layers for stage in encoder.stages):
        return []
    was_training = encoder.training
    encoder.eval()
    parameter = next(encoder.parameters())
    with torch.no_grad():
        x = nn.functional.elu(encoder.conv_in(parameter.new_zeros(1, 3, size, size)))
        rows = [("conv_in", _size(x), _conv(encoder.conv_in))]
        for number, stage in enumerate(encoder.stages, start=1):
            before, x = stage(x)
            pooled = f"average pool {before.shape[2] // x.shape[2]}x{before.shape[3] // x.shape[3]}"
            rows.append((f"stage{number}", _size(x), f"{_blocks(list(stage.layers))}, {pooled}"))  # type: ignore[arg-type]
    encoder.train(was_training)
    return rows


def encoder_table_text(rows: list[tuple[str, str, str]]) -> str:
    """The rows as a text table; empty without rows."""
    if not rows:
        return ""
    cells = [("stage", "output", "image encoder"), *rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(["Image encoder, as built (the paper's Table 1)", *lines])


def _size(x: torch.Tensor) -> str:
    return f"{x.shape[2]}x{x.shape[3]}"


def _conv(layer: nn.Module) -> str:
    assert isinstance(layer, nn.Conv2d)
    stride = f", stride {layer.stride[0]}" if layer.stride[0] > 1 else ""
    return f"{layer.kernel_size[0]}x{layer.kernel_size[1]}, {layer.out_channels}{stride}"


def _blocks(layers: list[nn.Module]) -> str:
    """`[3x3, 96; 3x3, 96] x 2`: residual layers with their convolutions, equal ones counted."""
    shown = []
    for layer in layers:
        assert isinstance(layer, ResidualLayer)
        shown.append(f"[{_conv(layer.conv1)}; {_conv(layer.conv2)}]")
    counted = [(text, len(list(same))) for text, same in groupby(shown)]
    return " ".join(f"{text} x {number}" for text, number in counted)
