"""Machines by pymodbus for `check`: unit 1 and 2 sound, unit 3 slow; every other unit is silent.

Only holding registers 0 to 49 can be read; register 40 is out of order. Prints the port.
"""

import asyncio
import os
import struct
import sys

from pymodbus import ModbusDeviceIdentification
from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer

BROKEN = 40


def words(form, value):
    raw = struct.pack(form, value)
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


registers = [0] * 50
registers[0:2] = words(">f", 230.1)
registers[2] = 215
registers[4:6] = words(">f", float("nan"))
registers[6:8] = words(">f", 230.1)[::-1]
registers[20:22] = words(">4s", b"SN-1")


class Machine(ModbusDeviceContext):
    def getValues(self, func_code, address, count=1):
        if func_code != 3:
            return ExcCodes.ILLEGAL_FUNCTION
        if address <= BROKEN < address + count:
            return ExcCodes.DEVICE_FAILURE
        return super().getValues(func_code, address, count)


class SlowMachine(Machine):
    async def async_getValues(self, func_code, address, count=1):
        await asyncio.sleep(0.1)
        return self.getValues(func_code, address, count)


def machine(kind):
    return kind(hr=ModbusSequentialDataBlock(1, registers))


async def main():
    context = ModbusServerContext(devices={1: machine(Machine), 2: machine(Machine), 3: machine(SlowMachine)}, single=False)
    identity = ModbusDeviceIdentification(info={0: "Haitian", 1: "MA", 2: "1.2", 0x80: "SN-1"})
    server = ModbusTcpServer(context, identity=identity, address=("127.0.0.1", 0), ignore_missing_devices=True)
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    # Until the test that started this server is gone.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
