"""Reads a metrics part without Tidewatch: python3 docs/read_part.py PART [METRIC]  (pip install pyarrow pcodec)

One line a sample: metric, labels, timestamp in ms, value; a native histogram is a dict. The format: docs/formats/metrics-part.md.
"""
import itertools, struct, sys

import numpy as np
import pyarrow.parquet as parquet
from pcodec import standalone


def varints(data):
    number = shift = 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0


def zigzag(n):
    return n >> 1 ^ -(n & 1)


def timestamps(data, first, n):
    body = data[1:]
    if data[0] == 1:  # regular
        steps = [next(varints(body))] * (n - 1)
    elif data[0] == 2:  # delta
        numbers = list(varints(body))
        steps = [numbers[0] + zigzag(d) for d in numbers[1:]]
    else:  # pco
        steps = standalone.simple_decompress(body) if n > 1 else []
    return np.cumsum([first, *steps]).tolist()


def decimal_head(body):
    """The power of ten, the exceptions by place, and what follows."""
    exceptions, at, place = {}, 1, -1

    def number():
        nonlocal at
        end = at
        while body[end] >= 128:
            end += 1
        found = next(varints(body[at : end + 1]))
        at = end + 1
        return found

    for _ in range(number()):
        place += number() + 1
        exceptions[place] = struct.unpack("<d", body[at : at + 8])[0]
        at += 8
    return body[0], exceptions, body[at:]


def packed(body, n):
    """n integers, which use up the body."""
    rest, numbers = Bytes(body), []
    firsts = [rest.signed() for _ in range(rest.take(1)[0])]
    while len(numbers) < n - len(firsts):
        m, smallest = min(128, n - len(firsts) - len(numbers)), rest.signed()
        width, exceptions = rest.take(1)[0], rest.take(1)[0]
        bits = int.from_bytes(rest.take((m * width + 7) // 8), "little")
        block, at = [bits >> i * width & (1 << width) - 1 for i in range(m)], -1
        for _ in range(exceptions):
            at += rest.take(1)[0] + 1
            block[at] |= rest.varint() << width
        numbers += [smallest + above for above in block]
    for first in reversed(firsts):
        numbers = list(itertools.accumulate([first, *numbers]))
    return [(number + 2**63) % 2**64 - 2**63 for number in numbers]


def values(data, n):
    tag, body = data[0], data[1:]
    if tag == 0:  # raw
        return list(struct.unpack(f"<{n}d", body))
    if tag == 5:  # float pco
        return standalone.simple_decompress(body).tolist()
    if tag == 7:  # float packed
        ordered = packed(body, n)
        return [struct.unpack("<d", struct.pack("<q", o if o >= 0 else o ^ (2**63 - 1)))[0] for o in ordered]
    power, exceptions, body = decimal_head(body)
    if tag == 1:  # runs
        numbers, integers = list(varints(body)), []
        for change, count in zip(numbers[::2], numbers[1::2]):
            integers += [(integers[-1] if integers else 0) + zigzag(change)] * count
    elif tag == 2:  # delta
        integers = np.cumsum([zigzag(d) for d in varints(body)]).tolist()
    elif tag == 3:  # delta of delta
        integers = np.cumsum(np.cumsum([zigzag(d) for d in varints(body)])).tolist()
    elif tag == 6:  # packed
        integers = packed(body, n)
    else:  # decimal pco
        integers = standalone.simple_decompress(body).tolist()
    return [exceptions.get(i, integer / 10.0**power if power else float(integer)) for i, integer in enumerate(integers)]


class Bytes:
    """Reads numbers off the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n : self.at]

    def varint(self):
        end = self.at
        while self.data[end] >= 128:
            end += 1
        return next(varints(self.take(end + 1 - self.at)))

    def signed(self):
        return zigzag(self.varint())

    def float(self):
        return struct.unpack("<d", self.take(8))[0]


def layout(body):
    """Of histograms: which buckets there are, and whether counts are floats."""
    kind = body.take(1)[0]
    found = {"hint": kind >> 1, "schema": body.signed(), "zero_threshold": body.float()}
    for side in ["positive", "negative"]:
        found[side], index = [], 0
        for _ in range(body.varint()):
            index += body.signed()
            length = body.varint()
            found[side] += range(index, index + length)
            index += length
    if found["schema"] == -53:
        found["bounds"] = [body.float() for _ in range(body.varint())]
    return found, kind & 1


def integer_counts(block, columns, n):
    """One list a column."""
    body, found, last = Bytes(block), [], 0
    coding = body.take(1)[0]
    for _ in range(columns):
        last += body.signed()
        found.append([last])
    rest = block[body.at :]
    if coding & 1:
        steps = iter(standalone.simple_decompress(rest).tolist() if n > 1 else [])
    else:
        steps = map(zigzag, varints(rest))
    for column in found:
        before = 0
        for _ in range(n - 1):
            before = (before if coding & 2 else 0) + next(steps)
            column.append(column[-1] + before)
    found[0] = [sum(row) for row in zip(*found)]
    return [[count % 2**64 for count in column] for column in found]


def histograms(data, n):
    body = Bytes(data[1:])
    runs = [(body.varint(), *layout(body)) for _ in range(body.varint())]
    sums = iter(values(body.take(body.varint()), n))
    for m, shape, is_float in runs:
        block, columns = body.take(body.varint()), 2 + len(shape["positive"]) + len(shape["negative"])
        if is_float:
            flat = values(block, columns * m)
            counts = [flat[at * m : (at + 1) * m] for at in range(columns)]
        else:
            counts = integer_counts(block, columns, m)
        for row in zip(*counts):
            middle = 2 + len(shape["positive"])
            sides = {"positive": row[2:middle], "negative": row[middle:]}
            buckets = {side: list(zip(shape[side], of)) for side, of in sides.items()}
            yield {**shape, "count": row[0], "zero_count": row[1], "sum": next(sums), **buckets}


def samples(path, metric=None):
    filters = [("metric", "=", metric)] if metric else None
    table = parquet.read_table(path, filters=filters)
    table = table.set_column(2, "first_ts", table["first_ts"].cast("int64"))
    for row in table.drop(["last_ts"]).to_pylist():
        n = row["count"] + row["stale"]
        if row["values"] is None:
            found = [row["first"]] * n
        else:
            found = (histograms if row["values"][0] == 16 else values)(row["values"], n)
        for ts, value in zip(timestamps(row["timestamps"], row["first_ts"], n), found):
            yield row["metric"], row["labels"], ts, value


if __name__ == "__main__":
    for metric, labels, ts, value in samples(*sys.argv[1:]):
        print(metric, labels, ts, repr(value))
