"""Asks a Modbus/TCP server for what it must refuse, and who it is. ask_refused.py HOST PORT prints what it answered."""

import json
import sys

from pymodbus.client import ModbusTcpClient

client = ModbusTcpClient(sys.argv[1], port=int(sys.argv[2]), timeout=5, retries=0)
assert client.connect()
answers = {
    "beyond": client.read_holding_registers(0x2110, count=1, device_id=1),
    "across": client.read_holding_registers(0x2100, count=9, device_id=1),
    "other table": client.read_input_registers(0x2100, count=1, device_id=1),
    "too many": client.read_holding_registers(0x2100, count=21, device_id=1),
    "other unit": client.read_holding_registers(0x2100, count=1, device_id=9),
    "write register": client.write_register(0x2102, 5000, device_id=1),
    "write registers": client.write_registers(0x2102, [5000], device_id=1),
    "write coil": client.write_coil(0, True, device_id=1),
    "mask": client.mask_write_register(address=0x2102, and_mask=0, or_mask=1, device_id=1),
    "identity where none": client.read_device_information(read_code=1, object_id=0, device_id=1),
}
codes = {name: answer.exception_code for name, answer in answers.items()}
for name, code in (("basic", 1), ("regular", 2), ("extended", 3)):
    answer = client.read_device_information(read_code=code, object_id=0, device_id=2)
    codes[name] = {object_id: text.decode() for object_id, text in answer.information.items()}
codes["specific"] = {k: v.decode() for k, v in client.read_device_information(read_code=4, object_id=5, device_id=2).information.items()}
json.dump(codes, sys.stdout)
