"""Judgement: priors, noise, pooling, and the models made of them."""
