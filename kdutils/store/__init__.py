"""store: runs, ledger, digests: one config, one directory."""
