"""A machine that misbehaves as it is told: raw bytes, no Modbus library.

Usage: modbus_faulty.py tcp|rtu [PORT] UNIT=BEHAVIOUR…
Prints its port, then a line for each request: seconds, unit id, function code, address, quantity.
A register or bit at address A of unit U holds (1000 * U + A) modulo 65536, its lowest bit for bits.
"""

import asyncio
import os
import random
import struct
import sys
import time

framing = sys.argv[1]
port = int(sys.argv[2])
behaviours = dict((int(unit), how) for unit, how in (argument.split("=") for argument in sys.argv[3:]))
deaf = set()
# Of "idle:MS": so long a connection may be idle.
patience = next((int(how[5:]) / 1000 for how in behaviours.values() if how.startswith("idle:")), None)
# Of "serial:MS": machines that share a serial line, whose answers go to whoever is connected when they come.
line_free_at = 0.0
connected = None
asked_count = {unit: 0 for unit in behaviours}


def crc(frame):
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def wrap(transaction, unit, pdu):
    if framing == "tcp":
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu
    frame = bytes([unit]) + pdu
    return frame + crc(frame)


def values(unit, function, address, quantity):
    words = [(1000 * unit + address + i) & 0xFFFF for i in range(quantity)]
    if function in (3, 4):
        return bytes([function, 2 * quantity]) + struct.pack(f">{quantity}H", *words)
    bits = bytearray((quantity + 7) // 8)
    for i, word in enumerate(words):
        bits[i // 8] |= (word & 1) << (i % 8)
    return bytes([function, len(bits)]) + bytes(bits)


async def read_request(reader):
    if framing == "tcp":
        transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
        return transaction, unit, await reader.readexactly(length - 1)
    head = await reader.readexactly(2)
    rest = await reader.readexactly(5 if head[1] == 43 else 6)
    assert crc(head + rest[:-2]) == rest[-2:], "the request's checksum"
    return 0, head[0], head[1:] + rest[:-2]


async def answer(transaction, unit, pdu, how, writer):
    function, address, quantity = pdu[0], *struct.unpack(">HH", pdu[1:5].ljust(4, b"\0"))
    how, _, detail = how.partition(":")
    good = wrap(transaction, unit, values(unit, function, address, quantity) if function != 43 else bytes([0xAB, 1]))
    exception = lambda code: wrap(transaction, unit, bytes([function | 0x80, int(code)]))
    if function == 43 and how == "close43":
        writer.close()
        return None
    if function == 43 and how != "mute43":
        # It does not know the function, leaves half of the request unread, and takes that for the next one.
        deaf.update({writer} if how == "deaf43" else {})
        return good
    if writer in deaf:
        return None
    asked_count[unit] += 1
    match how:
        case "good" | "mute43" | "deaf43" | "close43" | "idle":
            return good if function != 43 else None
        case "silent":
            return None
        case "slow":
            await asyncio.sleep(int(detail) / 1000)
            return good
        case "serial":
            # Each twelfth request ends the connection; its answer comes all the same, and those that follow keep behind it.
            global line_free_at
            line_free_at = max(line_free_at, time.monotonic()) + int(detail) / 1000
            asyncio.get_running_loop().call_at(line_free_at, lambda: connected.write(good))
            if asked_count[unit] % 12 == 0:
                writer.close()
            return None
        case "clock":
            # Two registers say at which millisecond it answers; its first answers may be slow.
            count, _, pause = detail.partition("+")
            if asked_count[unit] <= int(count or 0):
                await asyncio.sleep(int(pause) / 1000)
            return wrap(transaction, unit, bytes([function, 4]) + struct.pack(">I", time.time_ns() // 1_000_000 & 0xFFFFFFFF))
        case "late":
            # Each fifth answer comes late, and all others wait for it: a machine answers in order, and takes its time for each.
            await asyncio.sleep(int(detail) / 1000 if asked_count[unit] % 5 == 0 else 0.02)
            return good
        case "garbage":
            return random.Random(asked_count[unit]).randbytes(40)
        case "short":
            return wrap(transaction, unit, values(unit, function, address, max(quantity - 1, 1)))
        case "unit":
            return wrap(transaction, unit + 1, good[7:] if framing == "tcp" else good[1:-2])
        case "transaction":
            return wrap(transaction + 1, unit, good[7:])
        case "function":
            return wrap(transaction, unit, bytes([function ^ 7]) + values(unit, function, address, quantity)[1:])
        case "crc":
            return good[:-1] + bytes([good[-1] ^ 1])
        case "exception":
            return exception(detail)
        case "illegal":
            wrong = [int(number) for number in detail.split("+")]
            return exception(2) if any(address <= number < address + quantity for number in wrong) else good
        case "half":
            return good[: len(good) // 2]
        case "cut":
            writer.write(good[: len(good) // 2])
            await writer.drain()
            writer.close()
            return None
        case "dribble":
            for byte in good:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.005)
            return None
        case "twice":
            return good + good
    raise ValueError(how)


async def serve(reader, writer):
    global connected
    connected = writer
    try:
        while True:
            transaction, unit, pdu = await asyncio.wait_for(read_request(reader), patience)
            address, quantity = struct.unpack(">HH", pdu[1:5].ljust(4, b"\0"))
            print(f"{time.monotonic():.4f} {unit} {pdu[0]} {address} {quantity}", flush=True)
            reply = await answer(transaction, unit, pdu, behaviours.get(unit, "silent"), writer)
            if reply:
                writer.write(reply)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The test that started this machine is gone: so is the machine.
    asyncio.get_running_loop().run_in_executor(None, lambda: (sys.stdin.read(), os._exit(0)))
    async with server:
        await server.serve_forever()


asyncio.run(main())
