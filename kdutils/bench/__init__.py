"""bench: training, inference and watcher, side by side in one run."""
