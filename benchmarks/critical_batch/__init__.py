"""Batch size as time: critical batch sizes from answers that were rounded up."""
