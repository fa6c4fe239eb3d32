"""What is measured on a model: validation loss, likelihood, Frechet distance, pictures."""
