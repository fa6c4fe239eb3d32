"""Sources whose density, velocity and floor are known in closed form, as streams."""

import math

import torch

from training import flow, rng
from training.shapes import Batch, SampleShape


class Gaussian:
    """Independent dimensions of variance `lam`, mean zero."""

    size = None
    eight_bit = False
    fingerprint = "gaussian"
    device = "cpu"

    def __init__(self, lam, shape=None):
        self.lam = torch.as_tensor(lam, dtype=torch.float64)
        self.shape = shape or SampleShape(1, 1, 1, len(self.lam))

    def batch(self, index_B):
        z = rng.normal(0, "gaussian", index_B, (len(self.lam),)).double()
        return Batch((z * self.lam.sqrt()).float().reshape(-1, *self.shape.array))

    def velocity(self, x, t, path="rectified_flow"):
        """E[v | x_t] = (a a' lam + b b') / (a^2 lam + b^2) x_t."""
        path, t = flow.PATHS[path], t[:, None].to(x.dtype)
        lam = self.lam.to(x.dtype)
        a, b, da, db = path.a(t), path.b(t), path.da(t), path.db(t)
        return ((a * da * lam + b * db) / (a * a * lam + b * b) * x.flatten(1)).reshape(x.shape)

    def oracle_velocity(self, x_t, t, path=flow.PATHS["rectified_flow"]):
        return self.velocity(x_t, t, path.name)

    def predict(self, target="velocity", path="rectified_flow"):
        """What a perfect model says."""
        coefficients = flow.PATHS[path]

        def said(x, t, text=None):
            if target == "velocity":
                return self.velocity(x, t, path)
            at, lam = t[:, None], self.lam.to(x.dtype)
            a, b = coefficients.a(at), coefficients.b(at)
            gain = (b if target == "noise" else a * lam) / (a * a * lam + b * b)
            return (gain * x.flatten(1)).reshape(x.shape)

        return said

    @property
    def entropy(self):
        """Nats per dimension, mean over the density."""
        return float((0.5 * torch.log(2 * math.pi * math.e * self.lam)).mean())

    @property
    def floor(self):
        """Mean over t of the least velocity error, lam / ((1-t)^2 lam + t^2): closed in arctan."""
        root = self.lam.sqrt()
        # integral of lam / ((1 + lam) (t - lam / (1 + lam))^2 + lam / (1 + lam)) over [0, 1]
        return float((root * (torch.atan(root) + torch.atan(1 / root))).mean())


class Mixture(Gaussian):
    """Equal Gaussians of standard deviation `sigma` around `centres` (K, d)."""

    fingerprint = "mixture"

    def __init__(self, centres, sigma):
        self.centres = torch.as_tensor(centres, dtype=torch.float64)
        self.sigma = sigma
        self.shape = SampleShape(1, 1, 1, self.centres.shape[1])

    def batch(self, index_B):
        which = rng.integers(0, "mixture/which", index_B, len(self.centres))
        z = rng.normal(0, "mixture/noise", index_B, (self.centres.shape[1],)).double()
        x = self.centres[which] + self.sigma * z
        return Batch(x.float().reshape(-1, *self.shape.array))

    def velocity(self, x, t, path="rectified_flow"):
        path, t = flow.PATHS[path], t[:, None].to(x.dtype)
        a, b = path.a(t), path.b(t)
        variance = a**2 * self.sigma**2 + b**2
        away = x.flatten(1)[:, None] - a[..., None] * self.centres.to(x.dtype)
        share = torch.softmax(-0.5 * away.square().sum(-1) / variance, dim=-1)
        clean = self.centres.to(x.dtype) + (a * self.sigma**2 / variance)[..., None] * away
        x0 = (share[..., None] * clean).sum(1)
        e = (x.flatten(1) - a * x0) / b.clamp(min=1e-6)
        return (path.da(t) * x0 + path.db(t) * e).reshape(x.shape)

    def log_p(self, x):
        d = self.centres.shape[1]
        away = (x.flatten(1).double()[:, None] - self.centres).square().sum(-1)
        each = -0.5 * away / self.sigma**2 - d / 2 * math.log(2 * math.pi * self.sigma**2)
        return torch.logsumexp(each, 1) - math.log(len(self.centres))
