"""A Modbus server by pymodbus with every type in every order, and an identity.

Usage: modbus_pymodbus.py socket|rtu|tls [CERT KEY CA]
With TLS the frames are those of Modbus/TCP, as its security specification has it, and clients must show a certificate.
Prints its port, then one line of JSON: the points, each with the value that a client must read.
"""

import asyncio
import json
import os
import ssl
import struct
import sys

from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer, ModbusTlsServer

TYPES = {
    "u16": (">H", 64_001), "i16": (">h", -1234), "u32": (">I", 4_000_000_001), "i32": (">i", -2_000_000_001),
    "u64": (">Q", 9_007_199_254_740_991), "i64": (">q", -9_007_199_254_740_991), "f32": (">f", 230.125), "f64": (">d", -0.000123456789),
}
BCD = {"bcd16": (4, 9_876), "bcd32": (8, 98_765_432), "bcd64": (16, 1_234_567_890_123_456)}
registers = {"holding": [0] * 200, "input": [0] * 200}
points = []


def ordered(raw, order):
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    if order in ("cdab", "dcba"):
        words.reverse()
    if order in ("badc", "dcba"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def place(table, address, name, type, order, raw, expected, **keys):
    words = ordered(raw, order)
    registers[table][address : address + len(words)] = words
    # Of one register only the order of its bytes is a question.
    said = {"word_order": order} if len(words) > 1 or order == "badc" else {}
    points.append({"name": name, "table": table, "address": address, "type": type, "expected": expected, **said, **keys})
    return address + len(words)


for table in registers:
    address = 0
    for order in ("abcd", "cdab", "badc", "dcba"):
        for type, (form, value) in TYPES.items():
            if struct.calcsize(form) > 2 or order in ("abcd", "badc"):
                address = place(table, address, f"{table}_{type}_{order}", type, order, struct.pack(form, value), value)
        for type, (digits, value) in BCD.items():
            if digits > 4 or order in ("abcd", "badc"):
                raw = bytes.fromhex(f"{value:0{digits}d}")
                address = place(table, address, f"{table}_{type}_{order}", type, order, raw, value)
    address = place(table, address, f"{table}_scaled", "i16", "abcd", struct.pack(">h", -215), -31.5, scale=0.1, offset=-10)
    place(table, address, f"{table}_bit", "bool", "abcd", struct.pack(">H", 0b1000), True, bit=3)
bits = {"coil": [i % 3 == 0 for i in range(40)], "discrete": [i % 5 == 0 for i in range(40)]}
for table, states in bits.items():
    for address in (0, 7, 8, 15, 39):
        points.append({"name": f"{table}_{address}", "table": table, "address": address, "expected": states[address]})

block = lambda values: ModbusSequentialDataBlock(1, values)
device = ModbusDeviceContext(di=block(bits["discrete"]), co=block(bits["coil"]), hr=block(registers["holding"]), ir=block(registers["input"]))
context = ModbusServerContext(devices={1: device}, single=False)
identity = ModbusDeviceIdentification(info_name={
    "VendorName": "Haitian", "ProductCode": "MA", "MajorMinorRevision": "1.2", "ProductName": "Mars", "ModelName": "MA1600",
})


async def main():
    kind, *files = sys.argv[1:]
    if kind == "tls":
        cert, key, ca = files
        sslctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        sslctx.load_cert_chain(cert, key)
        sslctx.load_verify_locations(ca)
        sslctx.verify_mode = ssl.CERT_REQUIRED
        server = ModbusTlsServer(context, framer=FramerType.SOCKET, identity=identity, address=("127.0.0.1", 0), sslctx=sslctx)
    else:
        server = ModbusTcpServer(context, framer=FramerType(kind), identity=identity, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    print(json.dumps(points), flush=True)
    # Until the test that started this server is gone.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
