"""Machines that share nothing but addresses: each has a folder, a home and a loopback address of its own."""
