"""Do forecasts of larger runs keep their promise? Every public table that has scale."""
