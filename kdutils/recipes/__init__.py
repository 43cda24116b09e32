"""recipes: a module per stage; only here do data, models, losses and training meet.

Import rule: core only. A recipe has STAGE, `plan`, `digest(config)` and
`compute(config, run)`.
"""
