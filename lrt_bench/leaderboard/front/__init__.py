"""The front page in plain values: what a pair is in words, which map is first on it, where links lead."""
