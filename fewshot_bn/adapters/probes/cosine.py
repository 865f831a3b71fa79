"""The cosine classifier of few-shot fine-tuning, trained by stochastic gradient descent on the cross-entropy.

Scores: scale_factor · g_k · cos(v_k, z), a linear layer without intercept, under weight normalisation (a direction v_k
and a magnitude g_k), on features of length 1.

With x_i = z_i / |z_i|, u_k = v_k / |v_k|, c_ik = u_k·x_i and s_ik the derivative of the loss by g_k c_ik, the gradient
by g_k is Σ_i s_ik c_ik, and that by v_k is g_k / |v_k| · (Σ_i s_ik x_i - (Σ_i s_ik c_ik) u_k). So v_k never leaves the
span of the x_i and the initial vectors, and the loss depends on lengths and products alone: in coordinates of an
orthonormal basis of that span, which one QR decomposition gives, the same descent takes n + way numbers per class
instead of d.

Chance: the initial vectors, and the order of the support images in each epoch, are functions of their shapes alone, the
same in all episodes; the support images of an episode are themselves drawn at random.

Shapes: z_s [e n d], y_s [e n], z_q [e q d]; logits [e q way].
Raises: `UsageError` for settings out of range; `DataError` for features or labels that no probe takes.
Sources: Chen et al. 2019, arXiv:1904.04232 ("baseline++"), with the training of Guo et al. 2020, arXiv:1912.07200;
Salimans and Kingma 2016, arXiv:1602.07868, eq. 3.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from fewshot_bn import rng
from fewshot_bn.adapters.contract import Fit, check_finite, check_not_negative, check_positive, count_ways
from fewshot_bn.adapters.probes.scaling import SCALINGS, Scaling, scale
from fewshot_bn.adapters.probes.span import scaled_parts
from fewshot_bn.errors import UsageError
from fewshot_bn.settings import setting


@dataclass(frozen=True, slots=True)
class CosineHead:
    """A fit has converged where its scores are finite."""

    takes: ClassVar[Literal["features"]] = "features"
    transductive: ClassVar[bool] = False
    scaling: Scaling = setting("raw", SCALINGS, source="CD-FSL")
    scale_factor: float = setting(2.0, "factor of the cosines in the scores", source="CD-FSL")
    epochs: int = setting(100, "passes over the support set", source="CD-FSL")
    batch_size: int = setting(4, "images of a step; 0: the whole support set", source="CD-FSL")
    lr: float = setting(0.01, "learning rate", source="CD-FSL")
    momentum: float = setting(0.9, "of SGD", source="CD-FSL")
    dampening: float = setting(0.9, "share of the gradient that momentum leaves out", source="CD-FSL")
    weight_decay: float = setting(1e-3, "of directions and magnitudes", source="CD-FSL")

    def __post_init__(self) -> None:
        check_positive(scale_factor=self.scale_factor, epochs=self.epochs, lr=self.lr)
        check_not_negative(batch_size=self.batch_size, weight_decay=self.weight_decay)
        for name in ("momentum", "dampening"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.dampening and not self.momentum:
            raise UsageError(f"dampening is {self.dampening} and momentum is 0; dampening needs a momentum above 0")

    def __call__(self, z_s: Float[Tensor, "e n d"], y_s: Int64[Tensor, "e n"], z_q: Float[Tensor, "e q d"]) -> Fit:
        check_finite(z_s, "support")
        check_finite(z_q, "query")
        n_way, n = count_ways(y_s), z_s.shape[1]
        start = initial_vectors(n_way, z_s.shape[2]).to(z_s.device)
        parts = []
        for _, s, q in scaled_parts(z_s, z_q, self.scaling):
            x_s, x_q = scale(s, q, "l2")
            basis, within = torch.linalg.qr(torch.cat([x_s, start.expand(len(s), -1, -1)], 1).mT)
            parts.append((within.mT, x_q @ basis))
        coordinates, x_q = (torch.cat(values) for values in zip(*parts, strict=True))
        theta, n_steps = self._train(coordinates[:, :n], F.one_hot(y_s, n_way).double(), coordinates[:, n:])
        logits = self._scores(theta, x_q @ F.normalize(theta[..., :-1], dim=-1).mT)
        converged = logits.isfinite().all(2).all(1)
        return Fit(logits, torch.full_like(converged, n_steps, dtype=torch.int64), converged)

    def _train(
        self, x: Float[Tensor, "e n r"], y: Float[Tensor, "e n way"], v: Float[Tensor, "e way r"]
    ) -> tuple[Float[Tensor, "e way r1"], int]:
        """Directions with the magnitude as last column, from vectors v with theirs; and the number of steps."""
        theta = torch.cat([v, torch.linalg.vector_norm(v, dim=-1, keepdim=True)], -1)
        velocity, n, n_steps = torch.zeros_like(theta), x.shape[1], 0
        for epoch in range(self.epochs):
            order = torch.from_numpy(rng.permutation(n, 0, "cosine", epoch)).to(x.device)
            for rows in order.split(min(self.batch_size or n, n)):
                gradient = self._gradient(theta, x[:, rows], y[:, rows]).add_(theta, alpha=self.weight_decay)
                undamped = 1 - self.dampening if n_steps else 1.0  # torch does not dampen the first step
                velocity.mul_(self.momentum).add_(gradient, alpha=undamped)
                theta.sub_(velocity, alpha=self.lr)
                n_steps += 1
        return theta, n_steps

    def _gradient(
        self, theta: Float[Tensor, "e way r1"], x: Float[Tensor, "e b r"], y: Float[Tensor, "e b way"]
    ) -> Float[Tensor, "e way r1"]:
        length = torch.linalg.vector_norm(theta[..., :-1], dim=-1, keepdim=True)
        unit = theta[..., :-1] / length
        cosines = x @ unit.mT
        slopes = (self._scores(theta, cosines).softmax(-1) - y) * (self.scale_factor / x.shape[1])
        by_magnitude = (slopes * cosines).sum(1)[:, :, None]
        return torch.cat([theta[..., -1:] / length * (slopes.mT @ x - by_magnitude * unit), by_magnitude], -1)

    def _scores(self, theta: Float[Tensor, "e way r1"], cosines: Float[Tensor, "e b way"]) -> Float[Tensor, "e b way"]:
        return self.scale_factor * theta[:, None, :, -1] * cosines


def initial_vectors(n_way: int, dim: int) -> Float[Tensor, "way d"]:
    """Weights as torch's linear layers start with."""
    generator = rng.torch_generator(0, "cosine")
    weight = torch.empty(n_way, dim, dtype=torch.float64)
    return torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
