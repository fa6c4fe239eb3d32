"""Train image and video diffusion transformers over sweeps, and record runs worth fitting.

One run is a `Spec` (what is trained, by which objective, on which data, for how long) and becomes
one folder of records; a sweep is a list of specs. Start with ``python -m training --help``.
"""
