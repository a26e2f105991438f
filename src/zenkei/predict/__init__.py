"""How long jobs run and when they start, learned from what has ended. Pure.

`durations` learns run times online and freezes into a forecaster that planner, simulator and
estimates read; `starts` simulates the waiting line forward on a coarse model; `coverage` corrects
what is shown by how often it came true. Nothing here looks at a user's time limit as an estimate.
"""
