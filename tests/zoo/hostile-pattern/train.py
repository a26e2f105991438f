raise ValueError("a" * 60 + "!")
