"""maxnorm: gradient descent whose units keep within a norm."""

from __future__ import annotations

import torch


class MaxNorm(torch.optim.SGD):
    """SGD with Nesterov momentum; each unit's incoming weights stay within `norm`.

    The constraint of Hinton et al. 2012 (arXiv 1207.0580, section A): a unit whose
    incoming weights have a longer L2 norm has them scaled back to it. It is applied
    after every `every`-th step, to parameters of two dimensions (units, inputs).
    norm=0 applies none.
    """

    def __init__(self, params, *, lr, momentum=0.9, norm=0.0, every=4) -> None:
        super().__init__(params, lr=lr, momentum=momentum, nesterov=True, fused=True)
        self.norm, self.every, self.taken = norm, every, 0

    @torch.no_grad()
    def step(self, closure=None):
        value = super().step(closure)
        self.taken += 1
        if self.norm and self.taken % self.every == 0:
            for group in self.param_groups:
                for p in group["params"]:
                    if p.dim() == 2:
                        long = p.norm(dim=1, keepdim=True).clamp_(min=self.norm)
                        p.mul_(self.norm / long)
        return value
