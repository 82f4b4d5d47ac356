"""Maps that are solved from second moments alone: by spectra, rotations and components."""
