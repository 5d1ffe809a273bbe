"""Boxes as tools for annotation write them: what each format says, and the film as it is shown."""
