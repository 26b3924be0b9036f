"""Data sets: a file per release, behind the protocol of `base`; what is in it, and which frames count."""
