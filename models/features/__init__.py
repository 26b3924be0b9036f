"""Features of frames by networks that are not trained along: masked autoencoders, vision models, LPIPS backbones."""
