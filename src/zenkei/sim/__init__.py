"""The production controller in a virtual world: its clock, its engines, its faults. Tests only.

Nothing here decides anything about scheduling or job state; a simulator that assembles a scheduler
of its own drifts from the real one (DESIGN rule 2).
"""
