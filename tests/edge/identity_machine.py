"""A machine by pymodbus that says who it is, by function code 43/14 and, its serial number, in registers.

identity_machine.py PORT VENDOR MODEL SERIAL   (port 0: any); prints the port. Holding register 0 holds 7, registers 10 to 13 the serial.
"""

import asyncio
import os
import sys

from pymodbus import ModbusDeviceIdentification
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer

port, vendor, model, serial = sys.argv[1:]
text = serial.encode().ljust(8, b"\0")
registers = [7] + [0] * 9 + [int.from_bytes(text[i : i + 2], "big") for i in range(0, 8, 2)]


async def main():
    context = ModbusServerContext(devices=ModbusDeviceContext(hr=ModbusSequentialDataBlock(1, registers)), single=True)
    identity = ModbusDeviceIdentification(info_name={"VendorName": vendor, "ProductCode": "P", "MajorMinorRevision": "1", "ModelName": model})
    server = ModbusTcpServer(context, identity=identity, address=("127.0.0.1", int(port)))
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    # Until the test that started this server is gone.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
