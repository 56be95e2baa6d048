"""Reads every point of the devices of configurations, by pymodbus, and decodes the registers by struct: a second reading of the templates.

read_points.py TEMPLATES CONFIG...   prints a list, one object per configuration: {device: {point: value}}
"""

import json
import pathlib
import struct
import sys
import tomllib
from urllib.parse import urlsplit

from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient

QUANTITY = {"bool": 1, "u16": 1, "i16": 1, "bcd16": 1, "u32": 2, "i32": 2, "f32": 2, "bcd32": 2, "u64": 4, "i64": 4, "f64": 4, "bcd64": 4}
FORMAT = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f", "u64": ">Q", "i64": ">q", "f64": ">d"}
REFERENCE = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}


def place(point):
    if "reference" in point:
        digits = point["reference"]
        return REFERENCE[digits[0]], int(digits[1:]) - 1
    return point["table"], point["address"]


def decode(point, registers):
    order = point.get("word_order", "abcd")
    words = [struct.pack(">H", register) for register in registers]
    if order in ("cdab", "dcba"):
        words.reverse()
    if order in ("badc", "dcba"):
        words = [word[::-1] for word in words]
    raw = b"".join(words)
    kind = point.get("type", "u16")
    if kind == "bool":
        number = int.from_bytes(raw, "big")
        return bool(number >> point["bit"] & 1) if "bit" in point else number != 0
    number = int(raw.hex()) if kind.startswith("bcd") else struct.unpack(FORMAT[kind], raw)[0]
    return number * point.get("scale", 1) + point.get("offset", 0)


def read(client, unit, point):
    table, address = place(point)
    functions = {
        "coil": client.read_coils,
        "discrete": client.read_discrete_inputs,
        "input": client.read_input_registers,
        "holding": client.read_holding_registers,
    }
    quantity = 1 if table in ("coil", "discrete") else QUANTITY[point.get("type", "u16")]
    answer = functions[table](address, count=quantity, device_id=unit)
    if answer.isError():
        raise SystemExit(f"{point['name']}: {answer}")
    return answer.bits[0] if table in ("coil", "discrete") else decode(point, answer.registers)


def points_of(device, templates):
    own = device.get("point", [])
    named = device.get("template")
    if named is None:
        return own
    path = named if "/" in named else templates / f"{named}.toml"
    given = tomllib.loads(pathlib.Path(path).read_text())["device"]["point"]
    return [point for point in given if point["name"] not in {point["name"] for point in own}] + own


def connect(address):
    url = urlsplit(address)
    framer = FramerType.RTU if url.scheme == "rtu+tcp" else FramerType.SOCKET
    client = ModbusTcpClient(url.hostname, port=url.port, framer=framer, timeout=5, retries=0)
    if not client.connect():
        raise SystemExit(f"{address}: no connection")
    return client


def main():
    templates = pathlib.Path(sys.argv[1])
    out = []
    for config in sys.argv[2:]:
        devices = tomllib.loads(pathlib.Path(config).read_text())["device"]
        readings = {}
        for device in devices:
            client = connect(device["address"])
            unit = device.get("unit_id", 1)
            readings[device["name"]] = {point["name"]: read(client, unit, point) for point in points_of(device, templates)}
            client.close()
        out.append(readings)
    json.dump(out, sys.stdout, ensure_ascii=False)


main()
