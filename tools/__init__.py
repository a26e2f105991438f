"""Tools of the repository: set-up, locks, tests, generated pages. Never imported by zenkei."""
