"""train: fit one net, or many small students at once; tree and TabNet teachers."""
