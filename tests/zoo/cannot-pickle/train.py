import multiprocessing


def main() -> None:
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=lambda: print("batch"))
    worker.start()
    worker.join()


if __name__ == "__main__":
    main()
