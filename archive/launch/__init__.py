"""``python -m archive.launch``, behind `make run`: one command that starts all parts on one machine, and stops them.

It is for trying the archive and for a small hospital's single machine; a province runs ``docker-compose.yml``.
"""
