"""How good a model, embeddings or a ranking is: figures, tables, plots and pictures."""
