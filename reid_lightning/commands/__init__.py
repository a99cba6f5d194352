"""The commands: all of Hydra lives here, and nothing below imports them."""
