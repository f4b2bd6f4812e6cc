"""PURE: references, circuits, patches, virtual neurons, and the tables that judge them (Dreyer et al. 2024)."""
