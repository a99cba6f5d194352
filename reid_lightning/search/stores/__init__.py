"""Where the vectors are kept: one interface, an embedded engine and a server's."""
