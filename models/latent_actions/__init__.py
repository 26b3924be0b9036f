"""Latent actions: inferred from pairs of frames in pre-training, replaced by real actions in fine-tuning."""
