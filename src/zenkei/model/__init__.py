"""Words of zenkei: frozen values and enums shared by every room. Standard library only, no I/O."""
