"""``gossamer associate``: theory, exact solutions and online learning of associations, and fits to measured weights."""
