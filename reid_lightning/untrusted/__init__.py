"""The wall against files from strangers: bounded, without code, compared with what they should be."""
