"""compress: prune and quantize; sizes."""
