"""What evaluation, sweeps and search draw with: colours, fonts, figures and tables."""
