"""A Modbus/TCP server of other make: prints its port, serves fixed registers until it is ended."""
import asyncio
import struct

from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer


def words(fmt, value):
    raw = struct.pack(fmt, value)
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


def swapped_bytes(pair):
    return [((word & 0xFF) << 8) | word >> 8 for word in pair]


power = words(">f", 12.5)
count = words(">I", 0x12345678)
holding = power + power[::-1] + count + swapped_bytes(count) + swapped_bytes(count)[::-1]
inputs = words(">h", -123) + words(">H", 65000) + words(">i", -70000)


def block(values):
    # The datastore's blocks begin at 1 for the protocol's address 0.
    return ModbusSequentialDataBlock(1, values)


async def main():
    device = ModbusDeviceContext(
        co=block([False, False, False, True]),
        di=block([False] * 5 + [True]),
        hr=block(holding),
        ir=block(inputs),
    )
    server = ModbusTcpServer(ModbusServerContext(devices=device, single=True), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
