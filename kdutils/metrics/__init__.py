"""metrics: arrays in, floats out."""
