"""The plain decoder against torch's own transposed convolutions, and frames as quarters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.nets.plain_cnn import PlainDecoder, from_quarters, to_quarters


def plain_frames(decoder: PlainDecoder, feat: Tensor) -> Tensor:
    x = decoder.dense(feat)[..., None, None]
    for conv in decoder.convs[:-1]:
        x = F.elu(F.conv_transpose2d(x, conv.weight, conv.bias, stride=2))
    return F.conv_transpose2d(x, decoder.convs[-1].weight, decoder.convs[-1].bias, stride=2)


def test_frames_and_gradients_are_those_of_transposed_convolutions():
    torch.manual_seed(0)
    decoder = PlainDecoder(2, 5, 64, channels=4).double()
    for name, value in decoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value)
    feat = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, 64, 64, dtype=torch.float64)
    inputs = [feat, *decoder.parameters()]
    found, wanted = decoder(feat, {}), plain_frames(decoder, feat)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad((frames * weight).sum(), inputs) for frames in (found, wanted))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(decoder.quarters(feat), to_quarters(wanted), rtol=0, atol=1e-12)


def test_quarters_are_even_and_odd_rows_and_columns_and_back():
    frames = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    quarters = to_quarters(frames.movedim(1, -1).contiguous().movedim(-1, 1))
    assert quarters.shape == (2, 3, 4, 2, 3)
    assert quarters.is_contiguous()
    for place, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        assert torch.equal(quarters[:, :, place], frames[:, :, row::2, column::2])
    assert torch.equal(from_quarters(quarters), frames)
