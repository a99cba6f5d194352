"""The demonstration on drawn traffic."""
