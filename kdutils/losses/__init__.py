"""losses: distillation losses, pure functions of tensors."""
