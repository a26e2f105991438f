config = {"lr": 0.1}
print(config["learning_rate"])
