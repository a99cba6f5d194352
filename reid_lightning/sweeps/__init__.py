"""Sweeps: the jobs, what each of them reached, one table, and ending those that fall behind."""
