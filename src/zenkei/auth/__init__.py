"""Who may do what and with which keys: for now the secrets of projects."""
