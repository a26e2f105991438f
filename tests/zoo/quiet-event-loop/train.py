import asyncio


async def main():
    for step in range(10):
        await asyncio.sleep(0.1)
        print("step", step, flush=True)
    await asyncio.sleep(25)


asyncio.run(main())
