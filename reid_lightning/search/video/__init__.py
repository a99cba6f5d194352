"""From a source to the vehicles in it: frames, detections, tracks, their best crops."""
