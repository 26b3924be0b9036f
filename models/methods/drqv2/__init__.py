"""DrQ-v2 (Yarats et al., ICLR 2022, arXiv:2107.09645): a model-free agent on randomly shifted stacks of frames."""
