"""Fine-tuning: environments played, replay, evaluations, and the loop around an agent's updates."""
