"""What PreLAR's release was pre-trained with, and fine-tuned with on Meta-world, its only published suite.

Source: zhanglixuan0720/PreLAR at commit fb9c4d2: `P` is configs/prelar_finetuning.yaml, `V`
configs/prelar_pretraining.yaml, `Q` the commands in README.md, each with its line. No paper was at hand.
"""

from __future__ import annotations

from typing import Any

from models.methods.published_pretraining import PublishedPretraining, PublishedRow

SUITE = "metaworld"
PRELAR: dict[str, tuple[Any, str]] = {
    "training.pretrain_updates": (100, "P:24"),
    "training.train_every": (5, "P:25"),
    "training.updates_per_train": (1, "P:26"),
    "training.precision": ("fp16", "P:34"),
    "training.prefill": (5000, "P:188"),
    "training.env_steps": (255_000, "P:194"),
    "training.encoder_frozen_updates": (100, "P:192, P:24"),
    "replay.capacity": (1_000_000, "P:28"),
    "replay.prioritize_ends": (True, "P:28"),
    "replay.batch_size": (50, "P:184"),
    "replay.length": (50, "P:184"),
    "env.time_limit": (500, "P:185"),
    "env.action_repeat": (1, "P:186"),
    "evaluation.every": (10_000, "P:21"),
    "evaluation.episodes": (10, "P:187"),
    "evaluation.explore": (False, "wmlib/agents/base.py:84"),
    "latent_action.align": ("none", "P:60"),
    "latent_action.hold_rssm": (True, "P:64"),
    "rssm.action_dim": (64, "Q:116"),
    "rssm.deter": (1024, "P:80"),
    "rssm.hidden": (1024, "P:80, P:168"),
    "rssm.stoch": (32, "P:80"),
    "rssm.discrete": (32, "P:80"),
    "encoder.kind": ("residual", "P:82"),
    "encoder.cnn_depth": (48, "P:88"),
    "encoder.norm": ("batch", "P:91"),
    "encoder.blocks": (2, "P:93"),
    "decoder.kind": ("residual", "P:95"),
    "decoder.cnn_depth": (48, "P:101"),
    "decoder.norm": ("batch", "P:104"),
    "decoder.blocks": (2, "P:106"),
    "context.fusion": ("none", "P:82"),
    "intrinsic.neighbours": (16, "P:68"),
    "intrinsic.beta": (1.0, "P:193"),
    "intrinsic.window": (5, "P:71"),
    "intrinsic.queue_size": (4096, "P:73"),
    "intrinsic.queue_dim": (128, "P:74"),
    "intrinsic.features": ("embed", "P:75"),
    "reward.layers": (4, "P:108"),
    "reward.units": (400, "P:108"),
    "reward.dual": (True, "Q:116"),
    "reward.scale": (1.0, "Q:116"),
    "reward.dual_scale": (1.0, "Q:116"),
    "behavior.discount_head": (False, "P:79"),
    "loss.kl_scale": (1.0, "P:112"),
    "loss.kl_balance": (0.8, "P:119"),
    "loss.free_nats": (0.0, "P:119"),
    "optimizer.lr": (3e-4, "P:120, P:121"),
    "optimizer.eps": (1e-5, "P:120"),
    "optimizer.clip": (100.0, "P:120"),
    "optimizer.weight_decay": (1e-6, "P:120"),
    "behavior.layers": (4, "P:124"),
    "behavior.units": (400, "P:124"),
    "behavior.min_std": (0.1, "P:124"),
    "behavior.actor_optimizer.lr": (8e-5, "P:126"),
    "behavior.critic_optimizer.lr": (8e-5, "P:127"),
    "behavior.discount": (0.99, "P:128"),
    "behavior.lam": (0.95, "P:129"),
    "behavior.horizon": (15, "P:130"),
    "behavior.entropy": (1e-4, "P:134"),
    "behavior.slow_every": (100, "P:136"),
    "behavior.slow_fraction": (1.0, "P:137"),
}
"""Our key → released value, and where it stands."""

_NO_GRADIENT = "the released loss compares signs and has no gradient; 0 is the same training"

PRETRAINING = PublishedPretraining(
    "PreLAR, pre-training (its release, commit fb9c4d2)",
    "released",
    (
        PublishedRow("image size", "64 x 64 x 3", "image.size", 64, "V:13"),
        PublishedRow("image preprocessing", "[0, 255] to [-0.5, 0.5]", "image.offset", "half", "code"),
        PublishedRow("video segment length T", "25", "data.length", 25, "V:125"),
        PublishedRow("batch size", "16", "data.batch_size", 16, "V:125"),
        PublishedRow("updates", "600,000", "training.updates", 600_000, "Q:93, Q:103"),
        PublishedRow(
            "precision", "32", "training.precision", "fp32", "Q:93, Q:103",
            why="bf16 on a GPU that has it, where an update takes a third of the time (docs/gpu.md); fp32 elsewhere",
        ),
        PublishedRow("optimiser", "Adam, eps 1e-5", "optimizer.eps", 1e-5, "V:75"),
        PublishedRow("learning rate", "3e-4", "optimizer.lr", 3e-4, "V:132"),
        PublishedRow("weight decay (coupled L2)", "1e-6", "optimizer.weight_decay", 1e-6, "V:75"),
        PublishedRow("gradient norm clipped to", "100", "optimizer.clip", 100.0, "V:75"),
        PublishedRow("KL weight", "1.0", "loss.kl_scale", 1.0, "V:71"),
        PublishedRow("KL balance", "0.8", "loss.kl_balance", 0.8, "V:74"),
        PublishedRow("free nats", "0.0", "loss.free_nats", 0.0, "V:74"),
        PublishedRow("image loss weight", "1.0", "loss.image_scale", 1.0, "V:72"),
        PublishedRow("RSSM size", "1024", "rssm.deter", 1024, "V:130"),
        PublishedRow("RSSM hidden width", "1024", "rssm.hidden", 1024, "V:130"),
        PublishedRow("latents", "32", "rssm.stoch", 32, "V:43"),
        PublishedRow("classes of each latent", "32", "rssm.discrete", 32, "V:43"),
        PublishedRow("CNN depth", "48", "encoder.cnn_depth", 48, "V:50"),
        PublishedRow("residual layers per stage", "2", "encoder.blocks", 2, "V:55"),
        PublishedRow("CNN depth, decoder", "48", "decoder.cnn_depth", 48, "V:63"),
        PublishedRow("residual layers per stage, decoder", "2", "decoder.blocks", 2, "V:68"),
        PublishedRow("norms", "batch", "encoder.norm", "batch", "V:53"),
        PublishedRow("size of a latent action", "64", "rssm.action_dim", 64, "Q:93, Q:103"),
        PublishedRow("what the action encoder sees", "both frames", "latent_action.inputs", "concat", "V:112"),
        PublishedRow("its output", "a Gaussian", "latent_action.posterior", "stochastic", "V:113, Q:93, Q:103"),
        PublishedRow("weight of the latent action's KL", "1 at 64 x 64", "latent_action.beta_a", None, "code"),
        PublishedRow(
            "weight of the consistency loss", "1", "latent_action.consistency_scale", 1.0, "code, V:115",
            why=_NO_GRADIENT,
        ),
    ),
)  # fmt: skip
"""Its pre-training on RLBench and on Something-Something-v2 have the same values."""
