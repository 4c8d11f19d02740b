"""The break-even map of a machine: where sparse layers win on it, where they lose, and against which libraries."""
