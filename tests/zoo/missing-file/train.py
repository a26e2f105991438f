with open("data/train.csv", encoding="utf-8") as rows:
    print(len(rows.readlines()))
