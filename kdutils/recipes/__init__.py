"""recipes: a module per stage; only here do data, models, losses and training meet."""
