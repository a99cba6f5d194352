"""Which registered vehicle a crop or a track is."""
