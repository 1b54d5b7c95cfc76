"""Images for apps: from a folder with an app.toml to a bootable disk."""
