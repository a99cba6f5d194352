"""Training with Lightning: the module, its data, what happens between its steps, and going on after an interruption."""
