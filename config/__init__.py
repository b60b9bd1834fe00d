"""Settings, peers and logging: the only package that reads the environment."""
