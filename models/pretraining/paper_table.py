"""The paper's pre-training hyper-parameters beside a config's values, for `pretrain --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipv_bench.config import flatten
from models.pretraining.config import PretrainConfig


@dataclass(frozen=True)
class PaperRow:
    """One hyper-parameter.

    Attributes:
        name: as the paper calls it.
        value: the paper's value, as printed or in its code.
        key: our config key.
        expected: what `key` holds where our value equals the paper's.
        source: table or section of the paper, or "code" where it does not say.
    """

    name: str
    value: str
    key: str
    expected: Any
    source: str = "Table 2"


PRETRAINING_ROWS = (
    PaperRow("image size", "64 x 64 x 3", "image.size", 64),
    PaperRow("image preprocessing", "[0, 255] to [-0.5, 0.5]", "image.offset", "half"),
    PaperRow("video segment length T", "25", "data.length", 25),
    PaperRow("KL weight", "1.0", "loss.kl_scale", 1.0),
    PaperRow("optimiser", "Adam", "optimizer.eps", 1e-5),
    PaperRow("learning rate", "3e-4", "optimizer.lr", 3e-4),
    PaperRow("batch size", "16", "data.batch_size", 16),
    PaperRow("updates, one data set", "600,000 (several: 1,200,000)", "training.updates", 600_000),
    PaperRow("RSSM size", "1024", "rssm.deter", 1024, "C.3"),
    PaperRow("RSSM hidden width", "1024", "rssm.hidden", 1024, "C.3"),
    PaperRow("latents", "32", "rssm.stoch", 32, "code"),
    PaperRow("classes of each latent", "32", "rssm.discrete", 32, "code"),
    PaperRow("columns kept for actions", "50", "rssm.action_dim", 50, "code"),
    PaperRow("CNN depth", "48", "encoder.cnn_depth", 48, "Table 1"),
    PaperRow("CNN depth, decoder", "48", "decoder.cnn_depth", 48, "C.3"),
    PaperRow("residual layers per stage", "2", "encoder.blocks", 2, "Table 1"),
    PaperRow("residual layers per stage, decoder", "2", "decoder.blocks", 2, "C.3"),
    PaperRow("KL balance", "0.8", "loss.kl_balance", 0.8, "code"),
    PaperRow("free nats", "0.0", "loss.free_nats", 0.0, "code"),
    PaperRow("weight decay (coupled L2)", "1e-6", "optimizer.weight_decay", 1e-6, "code"),
    PaperRow("gradient norm clipped to", "100", "optimizer.clip", 100.0, "code"),
    PaperRow("context frame", "random", "context.frame", "random", "4.2"),
    PaperRow("context fusion", "cross-attention", "context.fusion", "cross_attention", "4.2"),
    PaperRow("attention heads", "4", "context.heads", 4, "code"),
    PaperRow("share of masked context tokens", "0.75", "context.mask_ratio", 0.75, "C.3"),
    PaperRow("attention dropout", "0.1", "context.dropout", 0.1, "code"),
    PaperRow("context augmentation, pre-training", "none", "context.augmentation", "none", "code"),
)
"""ContextWM (arXiv:2305.18499): Table 2, what the sections named say, and what its code adds."""


def paper_table(config: PretrainConfig) -> str:
    """A text table: the paper's value, ours, and `=` where they are equal or `≠` where not.

    Empty for a method whose config has other keys.
    """
    values = flatten(config.model_dump(mode="json"))
    if any(row.key not in values for row in PRETRAINING_ROWS):
        return ""
    cells = [("hyper-parameter", "paper", "", "here", "config key", "source")]
    for row in PRETRAINING_ROWS:
        mark = "=" if values[row.key] == row.expected else "≠"
        cells.append((row.name, row.value, mark, str(values[row.key]), row.key, row.source))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(["ContextWM, pre-training (arXiv:2305.18499)", *lines])
