"""Version of the package, the same as the daemon's."""
__version__ = "0.1.0"
