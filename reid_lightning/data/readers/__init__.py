"""A file for each data set or layout of one."""
