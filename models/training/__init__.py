"""What every training loop needs: optimisers, checkpoints, devices, ranks, signals, mirrors of metrics."""
