"""TODO support.pages"""

DEAD = 3
