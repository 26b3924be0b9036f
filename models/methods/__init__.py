"""Methods: a file or a wing each, one object each, behind the protocol of `base`."""
