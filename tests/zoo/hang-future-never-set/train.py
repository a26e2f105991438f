import asyncio


async def main():
    for step in range(10):
        await asyncio.sleep(0.2)
        print("step", step, flush=True)
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
