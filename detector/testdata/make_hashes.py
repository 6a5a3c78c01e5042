#!/usr/bin/env python3
"""Writes hashes.json: bodies, and the digests that Python gives their events.

    make_hashes.py > hashes.json        the cases below
    make_hashes.py -                    only the digests of the JSON texts on stdin, one per line

Standard library only.
"""
import csv
import hashlib
import io
import json
import re
import sys

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def digests(events):
    text = json.dumps(events, sort_keys=True, default=str).encode()
    return {"md5": hashlib.md5(text).hexdigest(), "sha256": hashlib.sha256(text).hexdigest()}


def from_csv(text):
    def value(cell):
        if cell == "":
            return None
        return json.loads(cell) if NUMBER.fullmatch(cell) else cell
    return [{k: value(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(text))]


JSON_BODIES = [
    '[{}]',
    '[{"b":1,"a":2,"aa":3,"B":4}]',
    '[ { "x" : 1.0 , "y" : [ 1 , [ ] , { } , null , true , false ] } ,\n {"z":{"q":{"b":2,"a":1}}} ]',
    '[{"i":0,"j":-0,"k":-0.0,"l":0.0,"m":0e0,"n":-1}]',
    '[{"i":123456789012345678901234567890,"j":9007199254740993,"k":9007199254740993.0,"l":-18446744073709551616}]',
    '[{"a":1e15,"b":1e16,"c":1E+16,"d":9999999999999998.0,"e":1e22,"f":1e23,"g":123456789012345678.0}]',
    '[{"a":1e-4,"b":1e-5,"c":0.0001,"d":0.00001,"e":9.999e-5,"f":0.00012345,"g":1.5e-7,"h":5e-324,"i":2.2250738585072014e-308}]',
    '[{"a":1.7976931348623157e308,"b":1e400,"c":-1e400,"d":1e-400,"e":-1e-400,"f":0.1,"g":0.30000000000000004,"h":100.0}]',
    '[{"a":"\\u0000\\u0001\\b\\f\\n\\r\\t\\u001f \\"\\\\\\/","b":"~\x7f\x80\u00e9\u20ac\uffff\U0001f600\U0010ffff","c":"\\u00e9\\ud83d\\ude00"}]',
    '[{"\u00e9":1,"e":2,"\U0001f600":3,"\uffff":4,"":5," ":6,"\\u0041":7,"a\\nb":8}]',
    '[{"source_ip":"10.0.0.1","bytes_transferred":1024,"packet_count":10,"connection_duration":0.5},{"bytes_transferred":null}]',
]
CSV_BODIES = [
    'bytes_transferred,packet_count,source_ip,note\n1024,10,10.0.0.1,"a ""b"", c"\n0.50,,007,+5\n1e3,-0,.5,NaN\n',
]

if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps([digests(json.loads(body)) for body in sys.stdin.buffer]))
        sys.exit()
    cases = [{"format": "json", "body": b, **digests(json.loads(b))} for b in JSON_BODIES]
    cases += [{"format": "csv", "body": b, **digests(from_csv(b))} for b in CSV_BODIES]
    json.dump({"python": sys.version.split()[0], "cases": cases}, sys.stdout, indent=1)
    print()
