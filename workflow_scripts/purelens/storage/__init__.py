"""Artifacts and other files: their paths, schemas and provenance records; writing, resuming and gathering them."""
