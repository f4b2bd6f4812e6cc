"""Files: where artifacts lie, what they hold, how they are written, checked, resumed and gathered."""
