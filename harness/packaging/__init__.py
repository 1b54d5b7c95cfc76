"""From an app folder to a signed package: `racs new`, `racs build-app`, `racs build-ova`, `racs ca`."""
