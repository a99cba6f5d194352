"""What a loader hands over, and which pictures it takes."""
