"""Writes to a Modbus server in every way that there is. write.py socket|rtu PORT"""

import sys

from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient

client = ModbusTcpClient("127.0.0.1", port=int(sys.argv[2]), framer=FramerType(sys.argv[1]), timeout=5, retries=0)
assert client.connect()
client.write_coil(0, True, device_id=1)
client.write_register(0, 1, device_id=1)
client.write_coils(0, [True, False], device_id=1)
client.write_registers(0, [1, 2], device_id=1)
client.mask_write_register(address=0, and_mask=0, or_mask=1, device_id=1)
client.readwrite_registers(read_address=0, read_count=1, write_address=0, values=[1], device_id=1)
