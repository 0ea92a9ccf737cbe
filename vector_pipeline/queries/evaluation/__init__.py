"""How well searches answer a golden set of questions."""
