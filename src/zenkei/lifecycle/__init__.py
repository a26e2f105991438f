"""State machine of a job, pure: `decide` (command → events), `evolve` (fold), `outcome`, `effects`.

Called by `control` inside store transactions and by the simulator's checkers. No clock, no ids, no
dice: `now_us` is an input. Cost: O(1) per event.
"""
