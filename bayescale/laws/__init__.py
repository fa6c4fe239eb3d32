"""Laws of training: pure functions of named inputs and parameters."""

from bayescale.laws import loss
from bayescale.laws.law import Law, Parameter, get, names, register

__all__ = ["Law", "Parameter", "get", "loss", "names", "register"]
