"""Machines with bad handbooks: `probe_layouts.py FIRST COUNT` serves the layouts of that many seeds, each on a port of its own; with
`rtu` behind it in RTU frames, as serial servers do.

Prints one line of JSON a layout: its port, what stands on the machine's display, and where each of these values truly stands.
Serves until its standard input ends. What is laid out follows from the seed alone.
"""
import asyncio
import json
import math
import random
import struct
import sys

from pymodbus import ModbusDeviceIdentification, pymodbus_apply_logging_config
from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusDeviceContext, ModbusServerContext, ModbusSparseDataBlock
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer

# (name, lowest, highest, decimals on the display, alike values that stand together, how it moves)
KINDS = {
    "energy meter": [
        ("voltage", 218.0, 242.0, 1, 3, "wanders"),
        ("line voltage", 378.0, 415.0, 1, 3, "wanders"),
        ("current", 1.0, 180.0, 2, 3, "wanders"),
        ("power", 1.0, 120.0, 2, 1, "wanders"),
        ("power factor", 0.7, 0.999, 3, 1, "wanders"),
        ("frequency", 49.9, 50.1, 2, 1, "wanders"),
        ("energy", 1000.0, 900000.0, 1, 1, "counts"),
    ],
    "temperature controller": [
        ("process value", 18.0, 260.0, 1, 2, "wanders"),
        ("set value", 20.0, 260.0, 1, 2, "stands"),
        ("output", 5.0, 100.0, 1, 2, "wanders"),
        ("ambient temperature", -9.0, 38.0, 1, 1, "wanders"),
    ],
    "inverter": [
        ("output frequency", 10.0, 50.0, 2, 1, "wanders"),
        ("set frequency", 10.0, 50.0, 2, 1, "stands"),
        ("output current", 1.0, 90.0, 1, 1, "wanders"),
        ("output voltage", 100.0, 400.0, 1, 1, "wanders"),
        ("bus voltage", 500.0, 600.0, 1, 1, "wanders"),
        ("speed", 300.0, 3000.0, 0, 1, "wanders"),
        ("heat sink temperature", 25.0, 80.0, 1, 1, "wanders"),
    ],
    "compressor": [
        ("discharge pressure", 0.5, 1.2, 3, 1, "wanders"),
        ("line pressure", 0.5, 1.2, 3, 1, "wanders"),
        ("discharge temperature", 60.0, 105.0, 1, 1, "wanders"),
        ("running hours", 1000.0, 60000.0, 0, 1, "counts"),
        ("load hours", 1000.0, 50000.0, 0, 1, "counts"),
        ("motor current", 20.0, 200.0, 1, 3, "wanders"),
    ],
    "injection moulding machine": [
        ("barrel temperature", 170.0, 290.0, 1, 5, "wanders"),
        ("cycle time", 8.0, 90.0, 2, 1, "stands"),
        ("shots", 10000.0, 4000000.0, 0, 1, "counts"),
        ("injection pressure", 20.0, 180.0, 1, 1, "wanders"),
        ("screw position", 5.0, 250.0, 2, 1, "wanders"),
    ],
    "flow meter": [
        ("flow", 1.0, 400.0, 3, 1, "wanders"),
        ("total", 1000.0, 9000000.0, 2, 1, "counts"),
        ("density", 700.0, 1100.0, 1, 1, "wanders"),
        ("fluid temperature", 5.0, 90.0, 1, 1, "wanders"),
        ("line pressure", 0.1, 1.6, 3, 1, "wanders"),
    ],
}
WIDTH = {"u16": 1, "i16": 1, "bcd16": 1, "u32": 2, "i32": 2, "f32": 2, "bcd32": 2, "u64": 4, "i64": 4, "f64": 4}
FORMAT = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f", "u64": ">Q", "i64": ">q", "f64": ">d"}
HIGHEST = {"u16": 65535, "i16": 32767, "bcd16": 9999, "u32": 2**32 - 1, "i32": 2**31 - 1, "bcd32": 99999999, "u64": 2**63, "i64": 2**63 - 1}
COMMON_BASES = [0, 1, 2, 10, 16, 20, 32, 50, 64, 99, 100, 128, 200, 256, 300, 400, 500, 512, 768, 999, 1000, 1024, 1100, 1280, 1500, 2000, 2048, 2999, 3000]
COMMON_BASES += [3500, 4000, 4096, 4999, 5000, 6000, 7000, 8000, 8192, 9000, 9999, 10000, 12288, 16384, 20000, 20480, 30000, 32768, 40000, 40960, 50000]


class Encoding:
    def __init__(self, kind, order, scale=1.0, offset=0.0):
        self.kind, self.order, self.scale, self.offset = kind, order, scale, offset

    def holds(self, value):
        raw = round((value - self.offset) / self.scale)
        if self.kind in ("f32", "f64"):
            return True
        lowest = -HIGHEST[self.kind] if self.kind.startswith("i") else 0
        return lowest <= raw <= HIGHEST[self.kind]

    def words(self, value):
        raw = (value - self.offset) / self.scale
        if self.kind.startswith("bcd"):
            digits = f"{round(raw):0{4 * WIDTH[self.kind]}d}"
            octets = bytes.fromhex(digits)
        elif self.kind in ("f32", "f64"):
            octets = struct.pack(FORMAT[self.kind], raw)
        else:
            octets = struct.pack(FORMAT[self.kind], round(raw))
        words = [int.from_bytes(octets[i : i + 2], "big") for i in range(0, len(octets), 2)]
        if self.order in ("badc", "dcba"):
            words = [(word & 0xFF) << 8 | word >> 8 for word in words]
        return words[::-1] if self.order in ("cdab", "dcba") else words

    def kept(self, value):
        """The value that stands in the registers for this one."""
        raw = (value - self.offset) / self.scale
        if self.kind == "f32":
            raw = struct.unpack(">f", struct.pack(">f", raw))[0]
        elif self.kind != "f64":
            raw = round(raw)
        return raw * self.scale + self.offset


class Quantity:
    """A value that the machine shows and keeps in its registers."""

    def __init__(self, rng, name, value, decimals, moves):
        self.name, self.value, self.decimals, self.moves = name, value, decimals, moves
        self.swing = rng.choice([0.0002, 0.0005, 0.001, 0.002])
        self.encoding, self.address = None, None

    def shown(self):
        return f"{self.encoding.kept(self.value):.{self.decimals}f}"

    def moved(self, rng):
        if self.moves == "wanders":
            return self.value * (1 + rng.uniform(-self.swing, self.swing))
        if self.moves == "counts":
            self.value += (rng.random() < 0.02) * 10.0**-self.decimals
        return self.value


def quantities_of(rng, kind):
    out = []
    for name, lowest, highest, decimals, alike, moves in KINDS[kind]:
        if rng.random() < 0.2:
            continue
        base = rng.uniform(lowest, highest)
        if lowest > 0 and highest / lowest > 20:
            base = math.exp(rng.uniform(math.log(lowest), math.log(highest)))
        for index in range(alike):
            value = base * (1 + rng.uniform(-0.03, 0.03)) if index else base
            out.append(Quantity(rng, f"{name} {index + 1}" if alike > 1 else name, value, decimals, moves))
    return out


def encode_all(rng, quantities):
    """Values of one kind are kept alike; the machine has one word order."""
    style = rng.choices(["float", "word", "double word", "decimal", "wide"], [36, 36, 18, 5, 5])[0]
    order = rng.choices(["abcd", "cdab", "badc", "dcba"], [55, 30, 5, 10])[0]
    word_order = "badc" if order in ("badc", "dcba") and rng.random() < 0.3 else "abcd"
    in_base_unit = rng.random() < 0.15
    groups = {}
    for quantity in quantities:
        groups.setdefault(quantity.name.rstrip(" 0123456789"), []).append(quantity)
    for group in groups.values():
        encoding = encode(rng, style, order, in_base_unit, group)
        if WIDTH[encoding.kind] == 1:
            encoding.order = word_order
        for quantity in group:
            quantity.encoding = encoding


def encode(rng, style, order, in_base_unit, group):
    name, decimals, counts = group[0].name, group[0].decimals, group[0].moves == "counts"
    scale = 10.0**-decimals
    if rng.random() < 0.2:
        scale /= 10
    signed = any(quantity.value < 0 for quantity in group) or "temperature" in name or "power" in name
    if in_base_unit and name == "power":
        scale = 0.001
    offset = 0.0
    if "temperature" in name and style in ("word", "double word") and rng.random() < 0.06:
        offset, signed = rng.choice([-40.0, -273.15]), False
    if style == "float":
        kind = "f32"
        scale = 0.001 if in_base_unit and name == "power" else 1.0
        if counts and rng.random() < 0.3:
            kind, scale = "u32", 10.0**-decimals
    elif style == "wide":
        kind = "f64" if rng.random() < 0.5 else ("i64" if signed else "u64")
        scale = 1.0 if kind == "f64" else scale
    elif style == "decimal":
        kind = "bcd32" if counts or rng.random() < 0.3 else "bcd16"
    else:
        kind = ("i" if signed else "u") + ("32" if style == "double word" or counts else "16")
    wider = "i32" if any(quantity.value < 0 for quantity in group) else "u32"
    tried = [Encoding(kind, order, scale, offset)] + [Encoding(wider, order, coarser, offset) for coarser in (scale, scale * 10, scale * 100)]
    return next(encoding for encoding in tried if all(encoding.holds(quantity.value * 1.05) for quantity in group))


def place(rng, quantities, base):
    spacing = rng.choices(["packed", "even", "gaps"], [70, 10, 20])[0]
    stride = rng.choice([2, 4, 8])
    address = base
    for index, quantity in enumerate(quantities):
        quantity.address = address
        width = WIDTH[quantity.encoding.kind]
        if spacing == "even":
            address += max(stride, width)
        else:
            address += width
            if spacing == "gaps" and rng.random() < 0.5:
                address += rng.randint(1, 6)
            elif index and rng.random() < 0.05:
                address += rng.choice([2, 4, 10, 20])
    return address


def noise(rng, length):
    """Registers that the technician does not ask for: settings, states, texts, clocks, anything."""
    out = []
    while len(out) < length:
        what = rng.choices(["zeros", "small", "settings", "random", "text", "clock", "counter", "float"], [30, 20, 20, 8, 5, 3, 7, 7])[0]
        if what == "zeros":
            out += [0] * rng.randint(1, 8)
        elif what == "small":
            out += [rng.randint(0, 20) for _ in range(rng.randint(1, 6))]
        elif what == "settings":
            out += [rng.choice([1, 5, 10, 50, 100, 150, 200, 220, 250, 380, 400, 500, 1000, 1500, 3000, 5000, 9600]) for _ in range(rng.randint(1, 6))]
        elif what == "random":
            out += [rng.randint(0, 65535) for _ in range(rng.randint(1, 8))]
        elif what == "text":
            text = "".join(rng.choice("ABCDEFGHKLMNPRSTUVWXYZ0123456789-") for _ in range(rng.choice([8, 12, 16])))
            out += [int.from_bytes(text[i : i + 2].encode(), "big") for i in range(0, len(text), 2)]
        elif what == "clock":
            out += [rng.randint(2015, 2030), rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)]
        elif what == "counter":
            out += Encoding("u32", rng.choice(["abcd", "cdab"])).words(rng.randint(0, 5_000_000))
        else:
            out += Encoding("f32", rng.choice(["abcd", "cdab"])).words(math.exp(rng.uniform(-3, 9)))
    return out[:length]


class Layout:
    def __init__(self, seed):
        rng = self.rng = random.Random(seed)
        self.seed = seed
        self.kind = rng.choice(list(KINDS))
        self.quantities = []
        while not any(self.askable()):
            self.quantities = quantities_of(rng, self.kind)
            encode_all(rng, self.quantities)
        base = rng.choices([0, rng.choice(COMMON_BASES), rng.randint(0, 9999), rng.randint(0, 64000)], [28, 42, 20, 10])[0]
        base = min(base, 64000)
        before = rng.choice([0, 0, rng.randint(1, 12)])
        end = place(rng, self.quantities, base + before)
        after = rng.choice([0, rng.randint(1, 10), rng.randint(10, 120)])
        words = dict(zip(range(base, end + after), noise(rng, end + after - base)))
        if rng.random() < 0.4:
            # What lies between the values is often empty.
            words = {address: 0 if base + before <= address < end else word for address, word in words.items()}
        for _ in range(rng.choice([0, 0, 1, 2])):
            other, length = rng.choice([rng.choice(COMMON_BASES), rng.randint(0, 9999)]), rng.randint(4, 150)
            for address, word in zip(range(other, other + length), noise(rng, length)):
                words.setdefault(address, word)
        self.decoys(words, end)
        for quantity in self.quantities:
            for index, word in enumerate(quantity.encoding.words(quantity.value)):
                words[quantity.address + index] = word
        self.access = rng.choices(["listed", "window", "anywhere"], [55, 25, 20])[0]
        if self.access == "window":
            words = {address: words.get(address, 0) for address in range(base // 100 * 100, max(base // 100 * 100 + 200, end + after))} | words
        elif self.access == "anywhere":
            words = {address: words.get(address, 0) for address in range(65536)}
        self.table = rng.choices(["holding", "input"], [65, 35])[0]
        self.mirrored = rng.random() < 0.12
        own = ModbusSparseDataBlock({address + 1: word for address, word in words.items()})
        if self.mirrored:
            other = own
        else:
            length = rng.choice([0, 0, rng.randint(4, 80)])
            start = rng.choice(COMMON_BASES)
            other = ModbusSparseDataBlock({start + index + 1: word for index, word in enumerate(noise(rng, length))})
        self.block = own
        holding, inputs = (own, other) if self.table == "holding" else (other, own)
        self.registers_max = rng.choices([125, 100, 64, 60, 50, 32, 16, 10], [60, 6, 6, 6, 6, 6, 6, 4])[0]
        self.delay_s = rng.choices([0, 0.002, 0.01], [80, 15, 5])[0]
        self.unit_id = rng.choices([1, rng.randint(2, 10), rng.randint(11, 247)], [55, 25, 20])[0]
        self.others = rng.choices(["gateway answers", "silent", "every unit answers"], [60, 15, 25])[0]
        self.moving = rng.random() < 0.6
        self.asked = self.ask()
        device = self.machine = Machine(holding, inputs, self.registers_max, self.delay_s)
        single = self.others == "every unit answers"
        self.context = ModbusServerContext(devices=device if single else {self.unit_id: device}, single=single)

    def askable(self):
        """A technician reads off values with three digits at least."""
        for quantity in self.quantities:
            digits = quantity.shown().lstrip("-").replace(".", "").lstrip("0")
            if len(digits) >= 3:
                yield quantity

    def decoys(self, words, end):
        """Values that are like a true one: a limit, a maximum, a set value, in this or another encoding."""
        rng = self.rng
        for _ in range(rng.choice([0, 0, 1, 2])):
            quantity = rng.choice(self.quantities)
            near = quantity.value * (1 + rng.choice([-1, 1]) * rng.uniform(0.003, 0.05))
            encoding = quantity.encoding
            if rng.random() < 0.4:
                encoding = Encoding(rng.choice(["u16", "u32", "f32"]), rng.choice(["abcd", "cdab"]), rng.choice([1.0, 0.1, 0.01]))
            if encoding.holds(near):
                address = end + rng.randint(0, 60)
                for index, word in enumerate(encoding.words(near)):
                    words[address + index] = word

    def ask(self):
        rng = self.rng
        askable = list(self.askable())
        count = min(len(askable), rng.choices([1, 2, 3, 4], [25, 30, 25, 20])[0])
        if rng.random() < 0.6:
            first = rng.randint(0, len(askable) - count)
            asked = askable[first : first + count]
        else:
            asked = sorted(rng.sample(askable, count), key=lambda quantity: quantity.address)
        if rng.random() < 0.2:
            rng.shuffle(asked)
        for quantity in asked:
            # Some displays show a digit less than the registers hold.
            digits = quantity.shown().lstrip("-").replace(".", "").lstrip("0")
            if quantity.decimals > 1 and len(digits) > 3 and rng.random() < 0.15:
                quantity.decimals -= 1
        return asked

    def described(self):
        truth = []
        for quantity in self.asked:
            encoding = quantity.encoding
            truth.append({
                "name": quantity.name, "table": self.table, "address": quantity.address, "type": encoding.kind, "word_order": encoding.order,
                "scale": encoding.scale, "offset": encoding.offset, "value": encoding.kept(quantity.value),
            })
        return {
            "seed": self.seed, "kind": self.kind, "unit_id": self.unit_id, "any_unit": self.others == "every unit answers", "others": self.others,
            "mirrored": self.mirrored, "access": self.access, "registers_max": self.registers_max, "moving": self.moving,
            "expect": [quantity.shown() for quantity in self.asked], "truth": truth,
        }

    async def serve(self, framer):
        silent = self.others == "silent"
        identity = ModbusDeviceIdentification(info_name={"VendorName": "Layouts", "ProductCode": self.kind, "MajorMinorRevision": "1.0"})
        server = ModbusTcpServer(
            self.context, framer=framer, identity=identity, address=("127.0.0.1", 0), ignore_missing_devices=silent
        )
        description = self.described()
        await server.serve_forever(background=True)
        print(json.dumps(description | {"port": server.transport.sockets[0].getsockname()[1]}), flush=True)
        while self.moving:
            await asyncio.sleep(0.3)
            if not self.machine.asked:
                # The display is read when the search begins.
                continue
            for quantity in self.quantities:
                if quantity.moves != "stands":
                    self.block.setValues(quantity.address + 1, quantity.encoding.words(quantity.moved(self.rng)))


class Machine(ModbusDeviceContext):
    def __init__(self, holding, inputs, registers_max, delay_s):
        bits = ModbusSparseDataBlock({})
        super().__init__(co=bits, di=bits, hr=holding, ir=inputs)
        self.registers_max, self.delay_s, self.asked = registers_max, delay_s, False

    async def async_getValues(self, func_code, address, count=1):
        self.asked = True
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if func_code in (3, 4) and count > self.registers_max:
            return ExcCodes.ILLEGAL_VALUE
        return self.getValues(func_code, address, count)


async def main():
    pymodbus_apply_logging_config("CRITICAL")
    first, count = int(sys.argv[1]), int(sys.argv[2])
    framer = FramerType.RTU if "rtu" in sys.argv[3:] else FramerType.SOCKET
    layouts = [asyncio.create_task(Layout(seed).serve(framer)) for seed in range(first, first + count)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for layout in layouts:
        layout.cancel()


asyncio.run(main())
