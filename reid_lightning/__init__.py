"""Train, evaluate and export models that recognise a vehicle again across cameras."""

__version__ = "0.1.0"
