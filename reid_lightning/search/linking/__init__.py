"""One vehicle, many cameras: sightings joined by looks, plates, times and the word of people."""
