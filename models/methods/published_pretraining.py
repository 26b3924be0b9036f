"""What a method was pre-trained with, by its paper and by its released code, field by field beside our config keys.

Source of ContextWM and APV: arXiv:2305.18499, and thuml/ContextWM at commit 3a8bca8, where `W` is
configs/apv_pretraining.yaml and `R` the commands in README.md, each with its line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class PublishedRow:
    """One hyper-parameter.

    Attributes:
        name: as the paper calls it.
        value: the paper's value as printed, or its code's where it does not say; the release's where no paper is known.
        key: our config key.
        expected: what `key` holds where our value equals `value`.
        source: table or section of the paper, "code" where it does not say; file and line where no paper is known.
        released: the released value with file and line; empty where it stands under `value`, or nowhere.
        why: why the preset `paper` has another value on purpose; empty where it has the same.
    """

    name: str
    value: str
    key: str
    expected: Any
    source: str = "Table 2"
    released: str = ""
    why: str = ""


@dataclass(frozen=True)
class PublishedPretraining:
    """The rows of a method, and whose they are.

    Attributes:
        title: the first line of the printed table.
        column: heading of the rows' `value`: "paper" or "released".
        rows: in the order in which they are printed.
    """

    title: str
    column: str
    rows: tuple[PublishedRow, ...]


CONTEXTWM = PublishedPretraining(
    "ContextWM, pre-training (arXiv:2305.18499)",
    "paper",
    (
        PublishedRow("image size", "64 x 64 x 3", "image.size", 64, released="64, W:11"),
        PublishedRow("image preprocessing", "[0, 255] to [-0.5, 0.5]", "image.offset", "half"),
        PublishedRow("video segment length T", "25", "data.length", 25, released="25, W:133"),
        PublishedRow("KL weight", "1.0", "loss.kl_scale", 1.0, released="1.0, W:69"),
        PublishedRow("optimiser", "Adam", "optimizer.eps", 1e-5, released="eps 1e-5, W:73"),
        PublishedRow("learning rate", "3e-4", "optimizer.lr", 3e-4, released="3e-4, W:140"),
        PublishedRow("batch size", "16", "data.batch_size", 16, released="16, W:133"),
        PublishedRow(
            "updates, one data set", "600,000 (several: 1,200,000)", "training.updates", 600_000,
            released="1,200,000, R:128, R:134, R:140",
        ),
        PublishedRow("RSSM size", "1024", "rssm.deter", 1024, "C.3", "1024, W:138"),
        PublishedRow("RSSM hidden width", "1024", "rssm.hidden", 1024, "C.3", "1024, W:138"),
        PublishedRow("latents", "32", "rssm.stoch", 32, "code", "32, W:41"),
        PublishedRow("classes of each latent", "32", "rssm.discrete", 32, "code", "32, W:41"),
        PublishedRow("columns kept for actions", "50", "rssm.action_dim", 50, "code", "50, W:41"),
        PublishedRow("CNN depth", "48", "encoder.cnn_depth", 48, "Table 1", "48, W:48"),
        PublishedRow("CNN depth, decoder", "48", "decoder.cnn_depth", 48, "C.3", "48, W:61"),
        PublishedRow("residual layers per stage", "2", "encoder.blocks", 2, "Table 1", "2, W:53"),
        PublishedRow("residual layers per stage, decoder", "2", "decoder.blocks", 2, "C.3", "2, W:66"),
        PublishedRow("KL balance", "0.8", "loss.kl_balance", 0.8, "code", "0.8, W:72"),
        PublishedRow("free nats", "0.0", "loss.free_nats", 0.0, "code", "0.0, W:72"),
        PublishedRow("weight decay (coupled L2)", "1e-6", "optimizer.weight_decay", 1e-6, "code", "1e-6, W:73"),
        PublishedRow("gradient norm clipped to", "100", "optimizer.clip", 100.0, "code", "100, W:73"),
        PublishedRow("context frame", "random", "context.frame", "random", "4.2", "random, W:85"),
        PublishedRow("context fusion", "cross-attention", "context.fusion", "cross_attention", "4.2"),
        PublishedRow("attention heads", "4", "context.heads", 4, "code"),
        PublishedRow("share of masked context tokens", "0.75", "context.mask_ratio", 0.75, "C.3", "0.75, W:88"),
        PublishedRow("attention dropout", "0.1", "context.dropout", 0.1, "code"),
        PublishedRow("context augmentation, pre-training", "none", "context.augmentation", "none", "code"),
    ),
)  # fmt: skip
"""Table 2, what the sections named say, and what the release adds."""

APV = PublishedPretraining(
    "APV, the vanilla world model of ContextWM's paper, pre-training (arXiv:2305.18499)",
    "paper",
    tuple(
        replace(row, expected="none", value="none") if row.key == "context.fusion" else row
        for row in CONTEXTWM.rows
        if row.key == "context.fusion" or not row.key.startswith("context.")
    ),
)
"""The same without the context path."""
