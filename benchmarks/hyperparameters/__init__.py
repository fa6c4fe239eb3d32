"""StepLaw's 2,702 runs: who predicts losses and the best batch size and rate of larger cells?

`steplaw` has the table and the splits, `cell_bowl` what each cell says of itself, `baselines` and
`posterior` the methods, `metrics` the scores, `subsets` the small budgets; ``python -m
benchmarks.hyperparameters`` puts them together.
"""
