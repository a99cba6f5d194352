"""Pictures as a person sees them: finding, reading, decoding, resizing, preprocessing."""
