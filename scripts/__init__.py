"""Programs of the repository that are no part of the package: what made its models, tasks and forecasts."""
