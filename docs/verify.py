#!/usr/bin/env python3
"""Verifies an evidence pack of caddy-soc2. docs/pack-format.md is the specification.

    python3 verify.py PACK.zip VKEY [VKEY ...]

VKEY is the verifier key of a log, NAME+HASH+KEY (C2SP signed-note). Have it from
somebody who noted it when the log was begun, not from who gave you the pack. A
retired key is given as VKEY@N: it is good for checkpoints of at most N records.

It needs Python 3.9 or later and nothing else. It shares no code with what made the
pack: it reads the container, the signatures and the hash trees, and counts what
the report says again from the records.

Exit status: 0 verified, 1 evidence of tampering or of gaps, 2 wrong usage, 3 it
could not be verified.
"""
import base64, hashlib, itertools, json, re, struct, sys, zlib
from datetime import datetime, timedelta, timezone

SCHEMA = "caddy-soc2/evidence-pack/1"
NOTICE = ("This is evidence for the examination of controls. Whether controls meet the criteria is an "
          "independent auditor's opinion.")
POPULATIONS = {1: "823a354781ad89a85b4111a276c83f4c2ff791f825ad84db951d2d30105ad350"}  # SHA-256 of scope/populations.json, by version
BOUNDARY = {2: "7dd815fa0822e1e1e303b10e9cbd51a2e17d838d6bbc6dfd28afb79d52b6e6fb"}        # SHA-256 of scope/boundary.json, by version
CRITERIA = {1: "092472a54217472f0c7a985bfcd9592a589af0e09ede4e0c99a0369669be6de0"}  # SHA-256 of criteria/mapping.json, by version
CATALOGUES = ("25d1ee5091ec07eb8b0c1d9bb737b9db137a9844e4c4f7e91a78c679c43d1e61",)  # SHA-256 of checks/definitions.ndjson with the checks of a version
GENERATORS = ("caddy-soc2 pages 1",)
MEDIA = {".json": "application/json", ".ndjson": "application/x-ndjson", ".csv": "text/csv; charset=utf-8; header=present",
         ".html": "text/html; charset=utf-8", ".bin": "application/octet-stream", ".tsr": "application/timestamp-reply",
         "": "text/plain; charset=utf-8"}
LEAD, TAIL = 25 * 3600 * 10**9, 3600 * 10**9      # nanoseconds before and after the period
REQUEST_KINDS = ("request", "request.intent", "request.open")
LISTED = 10_000                                   # findings and accepted risks of a log
SHEETS = {
    "incidents/findings.csv": "log,finding,check,subject,severity,result,opened,closed,verdict,triaged,triage_seq,"
                              "by,by_known,claim,owner,ticket,reason",
    "exceptions/accepted-risks.csv": "log,seq,source,check,time,verdict,owner,approver,by,by_known,claim,ticket,reason,expires,ended",
    "traffic/daily.csv": "log,date,requests,bytes,1xx,2xx,3xx,4xx,5xx,other,denied,limited,without_tls",
    "traffic/tables.csv": "log,table,name,requests",
    "availability/upstreams.csv": "log,upstream,state,nanoseconds,at_end,since,transitions",
}
EXACT = {"access": ("deny",), "limit": ("limited",), "status": ("401", "403")}  # of requests, what records that are always given give
PAGES = ("README.txt", "report.html", "checks/results.csv", "oscal/assessment-results.json",
         "oscal/component-definition.json", "oscal/catalog.json")


class Bad(Exception):
    """The pack is not what an untouched one is."""


class CannotTell(Exception):
    """The verification could not be made."""


problems, unchecked = [], []


# --- the container: a ZIP file in one form only -------------------------------------------

class Pack:
    def __init__(self, name):
        self.f = open(name, "rb")
        size = self.f.seek(0, 2)
        if not 22 <= size < 2**32 - 1:
            raise Bad(f"the container has {size} bytes")
        end = self.read(size - 22, 22)
        count, length, at = struct.unpack("<HII", end[10:20])
        if end[:4] != b"PK\5\6" or at + length + 22 != size:
            raise Bad("the container does not end with the end of its directory: it is cut off, or something follows it")
        directory, self.files, offset, rest = self.read(at, length + 22), {}, 0, b""
        made, names = b"", []
        for _ in range(count):
            entry = directory[len(made):len(made) + 46]
            if len(entry) < 46:
                raise Bad("the directory of the container is damaged")
            crc, packed, full, n = struct.unpack("<IIIH", entry[16:30])
            raw = directory[len(made) + 46:len(made) + 46 + n]
            head = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, crc, packed, full, n, 0)
            if self.read(offset, 30 + n) != b"PK\3\4" + head + raw:
                raise Bad(f"the local header of {raw!r} is not the one that the directory gives")
            made += b"PK\1\2" + struct.pack("<H", 20) + head + bytes(10) + struct.pack("<I", offset) + raw
            name = raw.decode("ascii", "replace")
            names.append(name)
            self.files[name] = (offset + 30 + n, packed, full, crc)
            offset += 30 + n + packed
        made += b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, length, at, 0)
        if offset != at or made != directory:
            raise Bad("the container has bytes that belong to no file, or members that a pack does not have")
        self.check_names(names)

    def check_names(self, names):
        if names[-2:] != ["manifest.json", "manifest.dsse.json"]:
            raise Bad("the last files of the container are not manifest.json and manifest.dsse.json")
        if names[:-2] != sorted(set(names[:-2])):
            raise Bad("the container has a file twice, or files not in the order of names")
        folded = {n.lower() for n in names}
        for n in names:
            if len(n) > 200 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", n):
                raise Bad(f"the container has the name {n!r}, which no file in a pack can have")
            parts = n.lower().split("/")
            if any("/".join(parts[:i]) in folded for i in range(1, len(parts))):
                raise Bad(f"the container has a file that is the folder of {n}")
        if len(folded) != len(names):
            raise Bad("the container has names that differ in capitals only")

    def read(self, at, n):
        self.f.seek(at)
        return self.f.read(n)

    def chunks(self, name):
        """The bytes of a file; never more than the directory says."""
        if name not in self.files:
            raise Bad(f"{name} is missing")
        at, left, size, crc = self.files[name]
        z, got, sum_ = zlib.decompressobj(-15), 0, 0
        while not z.eof:
            b = z.unconsumed_tail
            if not b:
                if left == 0:
                    raise Bad(f"{name} is cut off")
                b = self.read(at, min(left, 1 << 16))
                at, left = at + len(b), left - len(b)
            try:
                out = z.decompress(b, 1 << 20)
            except zlib.error as e:
                raise Bad(f"{name} cannot be decompressed: {e}")
            got, sum_ = got + len(out), zlib.crc32(out, sum_)
            if got > size:
                raise Bad(f"{name} is longer than the directory of the container says")
            yield out
        if got != size or left or z.unused_data or sum_ != crc:
            raise Bad(f"{name} is not what the directory of the container says")

    def bytes(self, name, limit=64 << 20):
        if name in self.files and self.files[name][2] > limit:
            raise Bad(f"{name} has more bytes than it can have")
        return b"".join(self.chunks(name))

    def lines(self, name):
        """The lines of a file, with their ends."""
        rest = b""
        for chunk in self.chunks(name):
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > 1 << 20:
                raise Bad(f"{name} has a line that is longer than any can be")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest

    def json(self, name):
        return parse(self.bytes(name), name)


def parse(b, name):
    def once(pairs):
        if len({k for k, _ in pairs}) != len(pairs):
            raise Bad(f"{name}: a name is there twice in an object")
        return dict(pairs)

    def no_number(text):
        raise Bad(f"{name}: {text} is no number in JSON")
    try:
        return json.loads(b.decode(), object_pairs_hook=once, parse_constant=no_number)
    except (ValueError, RecursionError) as e:
        raise Bad(f"{name}: it is not JSON: {e}")


HEAD = {"origin": str, "tree_size": int, "root": str}
PERIOD = {"from": str, "to": str}
MANIFEST = {"schema": str, "pack_id": str, "generator": str, "period": PERIOD, "full": bool, "logs": [{**HEAD, "folder": str}],
            "samples?": [{"population": str, "n": int, "seed": str}],
            "files": [{"path": str, "size": int, "sha256": str, "media_type": str}]}
ENVELOPE = {"payload": str, "payloadType": str, "signatures": [{"keyid": str, "sig": str}]}
LOG = {**HEAD, "first": int, "next": int, "segments": [int], "left": [str], "right": [str], "proofs": [{"size": int, "hashes": [str]}],
       "pieces": [{"file": str, "form": str, "first": int, "count": int, "why?": str}],
       "erased?": {"seq": int, "record": str, "proof": [str]}}


def form(v, want, name):
    """Checks that a value has the members and types that it must have, and no others; ? may be absent."""
    if isinstance(want, dict):
        names = {n.rstrip("?") for n in want}
        if not isinstance(v, dict) or not {n for n in want if n[-1] != "?"} <= set(v) <= names:
            raise Bad(f"{name}: it has not the members that it must have, or has others")
        for n, w in want.items():
            if n.rstrip("?") in v:
                form(v[n.rstrip("?")], w, name)
    elif isinstance(want, list):
        for x in v if isinstance(v, list) else [None]:
            form(x, want[0], name)
    elif type(v) is not want:
        raise Bad(f"{name}: {v!r:.80} is not of the type that it must be of")
    return v


# --- signatures: Ed25519 (RFC 8032, section 5.1.7), signed notes, DSSE ---------------------

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
I = pow(2, (P - 1) // 4, P)


def point_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_mul(n, p):
    q = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = point_add(q, p)
        p, n = point_add(p, p), n >> 1
    return q


def point(b):
    y = int.from_bytes(b, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * I % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point(bytes([0x58]) + bytes([0x66]) * 31)


def ed25519(key, message, sig):
    a, r = point(key), point(sig[:32])
    s = int.from_bytes(sig[32:], "little")
    if len(sig) != 64 or a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(sig[:32] + key + message).digest(), "little") % L
    p, q = point_mul(s, BASE), point_add(r, point_mul(h, a))
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


class Key:
    def __init__(self, text):
        self.limit = None
        m = re.search(r"@(0|[1-9][0-9]*)$", text)
        if m:
            text, self.limit = text[:m.start()], int(m[1])
        self.name, id_, key = text.strip().split("+", 2)
        raw = base64.b64decode(key, validate=True)
        self.hash = hashlib.sha256(self.name.encode() + b"\n" + raw).digest()[:4]
        if len(raw) != 33 or raw[0] != 1 or self.hash.hex() != id_:
            raise ValueError("it is not an Ed25519 verifier key")
        self.id, self.key = f"{self.name}+{id_}", raw[1:]

    def good(self, size):
        return self.limit is None or size <= self.limit


def open_checkpoint(b, keys, name):
    """Returns origin (None if no key that is given signed it), size, root and origin of a checkpoint."""
    try:
        text, signatures = b.decode().split("\n\n")
        origin, size, root = text.split("\n")
        if not signatures.endswith("\n") or str(int(size)) != size or len(base64.b64decode(root, validate=True)) != 32:
            raise ValueError
    except ValueError:
        raise Bad(f"{name}: a checkpoint is malformed")
    size, signed = int(size), False
    for line in signatures[:-1].split("\n"):
        m = re.fullmatch(r"— (\S+) ([A-Za-z0-9+/]+=*)", line)
        raw = base64.b64decode(m[2]) if m else b""
        if len(raw) < 5 or base64.b64encode(raw).decode() != m[2]:
            raise Bad(f"{name}: a signature line is malformed")
        for k in keys:
            if k.name == m[1] == origin and k.hash == raw[:4] and k.good(size):
                if not ed25519(k.key, (text + "\n").encode(), raw[4:]):
                    raise Bad(f"{name}: the signature by {k.id} does not verify")
                signed = True
    return (origin if signed else None), size, root, origin


def split_notes(b):
    notes, at = [], 0
    while at < len(b):
        head = b.find(b"\n\n", at)
        end = b.find(b"\n\n", head + 2) if head >= 0 else -1
        notes.append(b[at:] if end < 0 else b[at:end + 1])
        at = len(b) if end < 0 else end + 2
    return notes


def verify_envelope(pack, manifest, keys):
    e = form(pack.json("manifest.dsse.json"), ENVELOPE, "manifest.dsse.json")
    if e["payloadType"] != "application/vnd.in-toto+json":
        raise Bad("manifest.dsse.json is not an envelope of an in-toto statement")
    payload = base64.b64decode(e["payload"], validate=True)
    pae = b"DSSEv1 %d %s %d %s" % (len(e["payloadType"]), e["payloadType"].encode(), len(payload), payload)
    signed = {}
    for s in e["signatures"]:
        for k in keys:
            if k.id == s["keyid"] and all(k.good(l["tree_size"]) for l in manifest["logs"] if l["origin"] == k.name):
                if not ed25519(k.key, pae, base64.b64decode(s["sig"], validate=True)):
                    raise Bad(f"manifest.dsse.json: the signature by {k.id} does not verify")
                signed[k.name] = k.id
    for l in manifest["logs"]:
        if l["origin"] not in signed:
            raise Bad(f"manifest.dsse.json has no signature by a key that was given of the log {l['origin']!r}")
    files = [(f["path"], f["sha256"]) for f in manifest["files"]]
    files.append(("manifest.json", hashlib.sha256(pack.bytes("manifest.json")).hexdigest()))
    heads = [{"origin": l["origin"], "tree_size": l["tree_size"], "root": l["root"]} for l in manifest["logs"]]
    if parse(payload, "the statement") != {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://github.com/caddy-soc2/caddy-soc2/evidence-pack/v1",
        "subject": [{"name": n, "digest": {"sha256": s}} for n, s in files],
        "predicate": {"schema": SCHEMA, "pack_id": manifest["pack_id"], "period": manifest["period"], "logs": heads},
    }:
        raise Bad("manifest.dsse.json: what is signed is not the statement on this manifest.json")
    return sorted(signed.values())


# --- the hash tree (RFC 6962) --------------------------------------------------------------

def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def subtrees(start, end):
    """Heights of the perfect subtrees that the records from start to before end fall into."""
    while start < end:
        height = (start & -start).bit_length() - 1 if start else 62
        while start + (1 << height) > end:
            height -= 1
        yield height
        start += 1 << height


class Tree:
    def __init__(self):
        self.size, self.stack = 0, []

    def push(self, height, h):
        self.size += 1 << height
        while self.stack and self.stack[-1][0] == height:
            h, height = node(self.stack.pop()[1], h), height + 1
        self.stack.append((height, h))

    def root(self):
        if not self.stack:
            return hashlib.sha256(b"").digest()
        h = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            h = node(left, h)
        return h


def consistent(m, n, old, new, proof):
    """RFC 9162, section 2.1.4.2: the tree of n records goes on from that of m."""
    if m & (m - 1) == 0:
        proof = [old] + proof
    if not proof:
        return False
    fn, sn = m - 1, n - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr == old and sr == new and sn == 0


def included(index, size, leaf, root, proof):
    """RFC 9162, section 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf
    if not 0 <= index < size:
        return False
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


# --- records, populations and tables -------------------------------------------------------

def nanos(text):
    m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", text, re.ASCII)
    if not m:
        raise Bad(f"{text!r} is not a time of a record")
    t = datetime.fromisoformat(m[1] + "+00:00") - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (t.days * 86400 + t.seconds) * 10**9 + int(m[2])


def time_text(ns):
    t = datetime(1970, 1, 1) + timedelta(seconds=ns // 10**9)
    return t.isoformat() + f".{ns % 10**9:09d}Z"


def stored(text):
    """A time of the manifest (RFC 3339) as records hold it."""
    m = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{0,8}[1-9]))?Z", text, re.ASCII)
    if not m:
        raise Bad(f"manifest.json: {text!r} is not a time in UTC")
    return f"{m[1]}.{(m[2] or ''):0<9}Z"


def member(record, path):
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def text_of(value, kind="text"):
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and kind == "list":
        return " ".join(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def holds(condition, record):
    value = text_of(member(record, condition["member"]))
    if condition.get("set"):
        return value != ""
    if "not" in condition:
        return value not in condition["not"]
    return value in condition.get("is", [])


def belongs(population, record):
    kind = record["kind"]
    return (any(kind == k or k.endswith(".*") and kind.startswith(k[:-1]) for k in population["kinds"])
            and (not population.get("any") or any(holds(c, record) for c in population["any"]))
            and all(holds(c, record) for c in population.get("all", [])))


ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def cell(value, kind):
    text = text_of(value, kind)
    if kind in ("text", "list") or not re.fullmatch(r"|true|false|null|-?[0-9]{1,19}", text):
        text = ACTS.sub(lambda m: "".join(f"\\x{b:02x}" for b in m[0].encode()), text)
        if text[:1] and text[0] in "'=+-@＝＋－＠":
            text = "'" + text
    if text and (text == r"\." or any(c in text for c in ',"\r\n') or text[0].isspace()):
        text = '"' + text.replace('"', '""') + '"'
    return text


class Table:
    """Compares rows with a file, line by line."""

    def __init__(self, pack, name):
        self.name, self.lines, self.row, self.bad = name, pack.lines(name), 0, False

    def take(self, line):
        self.row += 1
        if not self.bad and next(self.lines, b"") != line:
            self.bad = True
            problems.append(f"{self.name}: line {self.row} is not the one that the records give: "
                            "a row is missing, was added or was changed")

    def end(self):
        if not self.bad and next(self.lines, None) is not None:
            problems.append(f"{self.name}: it goes on after line {self.row}, the last that the records give")


class Rows:
    """The files of a population."""

    def __init__(self, pack, folder, population, rows):
        self.pack, self.folder, self.p, self.n, self.files = pack, folder, population, 0, []
        self.rows = self.open(f"populations/{population['name']}.ndjson") if rows else None
        self.table = None
        self.begin()

    def open(self, name):
        self.files.append(name)
        return Table(self.pack, self.folder + name)

    def begin(self):
        if self.table:
            self.table.end()
        part = self.n // 1_000_000 + 1
        self.table = self.open(f"populations/{self.p['name']}.csv" if part == 1 else f"populations/{self.p['name']}.{part:04d}.csv")
        self.table.take((",".join(c["name"] for c in self.p["columns"]) + "\r\n").encode())

    def take(self, raw, record):
        if self.n and self.n % 1_000_000 == 0:
            self.begin()
        self.n += 1
        row = ",".join(cell(member(record, c["member"]), c["type"]) for c in self.p["columns"])
        self.table.take((row + "\r\n").encode())
        if self.rows:
            self.rows.take(raw + b"\n")

    def end(self):
        self.table.end()
        if self.rows:
            self.rows.end()


# --- figures: what the records say of the period -------------------------------------------

TABLES = {"access": "access.outcome", "cache": "cache", "end": "response.end", "host": "request.host", "limit": "limit.outcome",
          "method": "request.method", "proto": "request.proto", "tls": "tls.version", "upstream": "upstream.address"}


def count(table, name):
    if name not in table and len(table) >= 1000:
        name = "(other)"
    table[name] = table.get(name, 0) + 1


class Track:
    """How long something was in each state."""

    def __init__(self):
        self.state = self.last = "unknown"
        self.since = self.start = ""
        self.ns, self.moves, self.spans = {}, 0, []

    def until(self, a, at):
        begin, end = max(self.since, a.start), min(at, a.end)
        if begin < end:
            self.ns[self.state] = self.ns.get(self.state, 0) + nanos(end) - nanos(begin)
            self.since = end
            self.spans.append((begin, end, self.state))

    def rewind(self, a, at):
        """The clock was set back: what was counted by a clock that was ahead is not."""
        if self.since <= at:
            return
        while self.spans and self.spans[-1][1] > at:
            begin, end, state = self.spans.pop()
            self.ns[state] -= nanos(end) - nanos(max(begin, at))
            if self.ns[state] == 0:
                del self.ns[state]
            if begin < at:
                self.spans.append((begin, at, state))
        self.since = at
        if at < a.end and self.state != self.last:
            self.last, self.start = self.state, at
            self.moves += at >= a.start

    def become(self, a, at, state):
        self.until(a, at)
        if at < a.end:
            if state != self.last:
                self.last, self.start = state, at
            if state != self.state and at >= a.start:
                self.moves += 1
        self.state, self.since = state, max(self.since, at)

    def finish(self, a, end):
        self.until(a, end)
        self.state = "unknown"
        self.until(a, a.end)
        return {"state": self.last, "since": self.start, "ns": self.ns, "transitions": self.moves}


class Reviews:
    """What people decided: findings with their triage, and accepted risks."""

    def __init__(self, start, end):
        self.start, self.end = start, end
        self.findings, self.risks = [], []
        self.newest, self.others, self.by, self.in_force, self.accepted = {}, {}, {}, {}, {}

    def take(self, seq, at, kind, r):
        text = lambda name: text_of(member(r, name))
        who = {"by": text("actor.name"), "claim": text("actor.claim"), "known": text("actor.known"),
               "owner": text("owner"), "ticket": text("ticket"), "reason": text("reason"), "verdict": text("verdict")}
        if kind == "check.transition":
            self.configured(seq, at, text("check"), text("exception"))
            self.followed(seq, at, r, text)
        elif kind == "review.triage":
            subject = text("subject")
            f = self.by.get(r.get("answers", 0))
            if not f and re.fullmatch(r"0|-?[1-9][0-9]*", subject):
                f = self.by.get(int(subject))
            f = f or self.newest.get(subject) or self.others.get(subject)
            if not f:
                f = {"seq": seq, "opened": at, **({"subject": subject} if subject else {})}
                self.findings.append(f)
                self.others[subject] = f
            self.by[seq] = f
            f["triage"] = {"seq": seq, "time": at, **who}
        elif kind == "review.exception" and not (text("until") and text("until") < self.start):
            withdrawn = text("verdict") == "withdrawn"
            if withdrawn and r.get("answers", 0) in self.accepted:
                self.accepted[r["answers"]].setdefault("ended", at)
            elif not withdrawn or at >= self.start:
                more = {**who, "approver": text("approver"), "expires": text("until")}
                self.accepted[seq] = self.risk(seq, "review", text("subject"), at, more)

    def risk(self, seq, source, check, at, more):
        r = {"seq": seq, "source": source, "check": check, "time": at,
             **dict.fromkeys(("verdict", "owner", "approver", "by", "claim", "known", "ticket", "reason"), ""), **more}
        if not r.get("expires"):
            r.pop("expires", None)
        self.risks.append(r)
        return r

    def configured(self, seq, at, check, reason):
        r = self.in_force.get(check)
        if r and r["reason"] == reason:
            return
        if r:
            r["ended"] = at
            del self.in_force[check]
        if reason:
            self.in_force[check] = self.risk(seq, "configuration", check, at, {"reason": reason})

    def followed(self, seq, at, r, text):
        f, after = self.newest.get(text("check")), text("after")
        if f and "closed" not in f:
            self.by[seq] = f
            if after not in ("fail", "warn", "unknown"):
                f["closed"] = at
            elif after == "fail":
                f["result"] = "fail"
        elif after in ("fail", "warn"):
            f = {"seq": seq, "check": text("check"), "severity": text("severity"), "result": after, "opened": at}
            f = {k: v for k, v in f.items() if v != ""}
            if text("before") == after and text("since") and text("since") < at:
                f["opened"] = text("since")
            self.findings.append(f)
            self.newest[text("check")] = self.by[seq] = f

    def figures(self):
        def there(f):
            triaged = f.get("triage", {}).get("time", "") >= self.start
            return triaged or "check" in f and f.get("closed", self.end) >= self.start
        findings = [f for f in self.findings if there(f)]
        risks = [r for r in self.risks if r.get("ended", self.end) >= self.start]
        return {"findings": findings[:LISTED], "more_findings": max(0, len(findings) - LISTED),
                "accepted_risks": risks[:LISTED], "more_accepted_risks": max(0, len(risks) - LISTED)}


class Draw:
    """Draws a sample: the rows with the smallest hashes."""

    def __init__(self, sample, root):
        self.sample, self.tickets = sample, []
        self.prefix = f"caddy-soc2-sample-v1\n{sample['seed']}\n{root}\n{sample['population']}\n".encode()

    def offer(self, seq):
        self.tickets.append((hashlib.sha256(self.prefix + b"%d" % seq).digest(), seq))
        if len(self.tickets) > self.sample["n"] + 10_000:
            self.tickets = sorted(self.tickets)[:self.sample["n"]]

    def figures(self, found):
        seqs = sorted(seq for _, seq in sorted(self.tickets)[:self.sample["n"]])
        return {**self.sample, "of": found[self.sample["population"]]["count"], "seqs": seqs}


class Account:
    def __init__(self, log, period, populations, rows, samples):
        self.log, self.populations, self.rows = log, populations, rows
        self.start, self.end = (stored(period[k]) for k in ("from", "to"))
        self.records, self.kinds, self.gaps, self.days = 0, {}, [], {}
        self.requests = {"total": 0, "bytes": 0, "authenticated": 0, "by": {n: {} for n in [*TABLES, "status"]}}
        self.found = {p["name"]: {"count": 0, "first_seq": None, "last_seq": None} for p in populations}
        self.checks, self.meta, self.ahead, self.upstreams, self.keys = {}, {}, {}, {}, []
        self.rollups, self.counted = {"segments": 0, "records": 0, "requests": 0}, set()
        self.lost = dict.fromkeys(("gaps", "lost", "refused", "served", "late"), 0)
        self.seen, self.before, self.closed, self.why = False, "", "", ""
        self.reviews, self.draws = Reviews(self.start, self.end), [Draw(s, log["root"]) for s in samples]

    def gap(self, start, end, why):
        start, end = max(start, self.start), min(end, self.end)
        if start < end:
            self.gaps.append({"from": start, "to": end, "why": why})

    def missing(self, first, why):
        self.why = self.why or f"records from {first} on cannot be read: {why}"
        if self.seen:
            self.down(self.before)

    def again(self, at):
        if self.why:
            self.gap(self.before, at, self.why)
        self.why = ""

    def rewind(self, at):
        for id_, t in self.checks.items():
            if at < self.end and t.since > at:
                self.meta.setdefault(id_, {}).update(self.ahead[id_])
            t.rewind(self, at)
        for t in self.upstreams.values():
            t.rewind(self, at)

    def down(self, at):
        for t in [*self.checks.values(), *self.upstreams.values()]:
            t.become(self, at, "unknown")

    def add(self, seq, raw, r):
        at, kind = r["time"], r["kind"]
        when, took = nanos(at), r.get("duration_ns", 0)
        ended = time_text(when + took) if isinstance(took, int) and took > 0 else at
        if not self.seen:
            first = self.log["first"]
            self.gap(self.start, ended, f"records before {first} are not there" if first else "the log begins then")
            self.seen = True
        self.again(ended)
        self.happened(seq, at, kind, r)
        self.before = ended
        if not self.start <= at < self.end:
            return
        self.records += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind == "request":
            self.request(at[:10], r)
        for p in self.populations:
            if belongs(p, r):
                c = self.found[p["name"]]
                c.update(count=c["count"] + 1, first_seq=seq if c["first_seq"] is None else c["first_seq"], last_seq=seq)
                for draw in self.draws:
                    if draw.sample["population"] == p["name"]:
                        draw.offer(seq)
                if p["name"] in self.rows:
                    self.rows[p["name"]].take(raw, r)

    def request(self, date, r):
        status, size = member(r, "response.status") or 0, member(r, "response.bytes") or 0
        q = self.requests
        q["total"] += 1
        q["bytes"] += size
        q["authenticated"] += bool(member(r, "auth.user"))
        count(q["by"]["status"], str(status))
        for name, path in TABLES.items():
            count(q["by"][name], text_of(member(r, path)) or "none")
        day = self.days.setdefault(date, {"requests": 0, "bytes": 0, "class": {}, "denied": 0, "limited": 0, "plain": 0})
        day["requests"] += 1
        day["bytes"] += size
        class_ = f"{status // 100}xx"
        day["class"][class_] = day["class"].get(class_, 0) + 1
        day["denied"] += member(r, "access.outcome") == "deny" or status in (401, 403)
        day["limited"] += member(r, "limit.outcome") == "limited"
        day["plain"] += not member(r, "tls.version")

    def happened(self, seq, at, kind, r):
        if at < self.end:
            self.reviews.take(seq, at, kind, r)
        if kind == "check.transition":
            self.checks.setdefault(r["check"], Track()).become(self, at, r.get("after", ""))
            self.ahead[r["check"]] = {"severity": r.get("severity", ""), "criteria": r.get("criteria", []),
                                      "exception": r.get("exception", ""), "definition": r.get("definition", "")}
            if at < self.end:
                c = self.meta.setdefault(r["check"], {})
                c.update(self.ahead[r["check"]])
                if r.get("after") == "fail" and at >= self.start:
                    c.setdefault("first_fail", at)
                    c["last_fail"] = at
        elif kind.startswith("upstream."):
            id_ = f"{r.get('server', '')} {r.get('address', '')} {max(r.get('handler', 0), 1)}"
            self.upstreams.setdefault(id_, Track()).become(self, at, kind[9:])
        elif kind == "log.open":
            keys = [r.get("key", ""), *r.get("also", [])]
            if not self.keys or self.keys[-1]["keys"] != keys:
                self.keys.append({"seq": seq, "keys": keys})
            self.rewind(at)
            if self.closed:
                self.gap(self.closed, at, "the log was closed")
            elif self.before and not r.get("clean"):
                self.gap(self.before, at, "the log was not closed in order")
                self.down(min(self.before, at))
            self.closed = ""
        elif kind == "log.clock":
            self.rewind(at)
        elif kind == "log.close":
            self.closed = at
            self.down(at)
        elif kind == "log.gap":
            if self.start <= at < self.end:
                self.lost["gaps"] += 1
                for name in ("lost", "refused", "served", "late"):
                    self.lost[name] += r.get(name, 0)
            if r.get("lost", 0) + r.get("served", 0):
                self.gap(r.get("from") or at, r.get("to") or at,
                         f"log.gap record {seq}: {r.get('lost', 0)} lost, {r.get('served', 0)} served without a record")
        elif kind == "rollup":
            s = r["segment"]
            if s["first"] >= self.log["first"] and s["first"] + s["records"] <= self.log["next"] and s["first"] not in self.counted:
                self.counted.add(s["first"])
                self.rollups["segments"] += 1
                self.rollups["records"] += s["records"]
                self.rollups["requests"] += r.get("requests", {}).get("total", 0)

    def figures(self):
        self.again(self.end)
        end, size = self.end, self.log["tree_size"]
        if not self.seen:
            self.gap(self.start, self.end, "no record is there")
            end = self.start
        elif self.log["next"] == size:
            end = min(end, max(self.before, self.start))
            if self.closed:
                self.gap(self.closed, self.end, "the log was closed")
            else:
                self.gap(end, self.end, f"the log had {size} records when the pack was made")
        checks = {}
        for id_, track in self.checks.items():
            if id_ not in self.meta:
                continue  # it was first made after the period
            c = {**self.meta[id_], **track.finish(self, end)}
            thousandths = c["ns"].get("fail", 0) // 60_000_000
            c["failing_minutes"] = f"{thousandths // 1000}.{thousandths % 1000:03d}"
            if not c.get("exception"):
                c.pop("exception", None)
            checks[id_] = c
        return {
            "origin": self.log["origin"], "tree_size": size, "root": self.log["root"],
            "first": self.log["first"], "next": self.log["next"], "records": self.records, "kinds": self.kinds,
            "gaps": sorted(self.gaps, key=lambda g: (g["from"], g["to"], g["why"])), "requests": self.requests, "days": self.days,
            "populations": self.found, "checks": checks, "rollups": self.rollups, "lost": self.lost, "keys": self.keys,
            "upstreams": {k: t.finish(self, end) for k, t in self.upstreams.items()}, **self.reviews.figures(),
            "samples": [d.figures(self.found) for d in self.draws],
        }


class Segments:
    """Counts segments again and compares them with their rollup records."""

    SIMPLE = {"method": "request.method", "proto": "request.proto", "tls": "tls.version", "access": "access.outcome",
              "limit": "limit.outcome", "cache": "cache", "end": "response.end"}

    def __init__(self, log, period):
        self.period = [nanos(stored(period[k])) for k in ("from", "to")]
        self.log, self.starts, self.open, self.done = log, list(log["segments"]), None, {}
        self.told, self.covered, self.requests, self.all = set(), 0, 0, 0

    def at(self, seq):
        if self.starts and self.starts[0] == seq:
            if self.open:
                self.done[self.open["first"]] = {**self.open, "end": seq}
            self.open = {"first": self.starts.pop(0), "kinds": {}, "hidden": 0, "lost": False, "bytes": 0, "from": None, "to": None,
                         "requests": {"total": 0, "bytes": 0, "authenticated": 0, "status": {}, **{n: {} for n in self.SIMPLE}}}
        if self.open:
            return self.open

    def skip(self, seq, lost):
        s = self.at(seq)
        self.all += 1
        if s:
            s["hidden"] += 1
            s["lost"] |= lost

    def add(self, seq, raw, r):
        s = self.at(seq)
        self.all += 1
        if s:
            s["kinds"][r["kind"]] = s["kinds"].get(r["kind"], 0) + 1
            s["bytes"] += len(raw) + 2
            s["from"], s["to"] = s["from"] or r["time"], r["time"]
            if r["kind"] == "request":
                q, status = s["requests"], member(r, "response.status") or 0
                q["total"] += 1
                q["bytes"] += member(r, "response.bytes") or 0
                q["authenticated"] += bool(member(r, "auth.user"))
                if 100 <= status <= 999:  # others have no name in a rollup record
                    q["status"][str(status)] = q["status"].get(str(status), 0) + 1
                for name, path in self.SIMPLE.items():
                    value = text_of(member(r, path)) or "none"
                    q[name][value] = q[name].get(value, 0) + 1
        if r["kind"] == "rollup":
            self.compare(seq, r)

    def compare(self, seq, r):
        said, kinds = r["segment"], r.get("kinds", {})
        if said["first"] < self.log["first"] or said["first"] + said["records"] > self.log["next"]:
            return
        s = self.done.get(said["first"])
        if not s or s["end"] != said["first"] + said["records"]:
            problems.append(f"rollup record {seq} is of a segment that log.json does not list")
            return
        if s["lost"]:
            return
        if s["hidden"]:
            wrong = [k for k, n in kinds.items() if k not in REQUEST_KINDS and s["kinds"].get(k, 0) != n]
            wrong += self.refused(said, kinds, r.get("requests", {}), s["requests"])
            if sum(kinds.values()) == said["records"]:
                if sum(n - s["kinds"].get(k, 0) for k, n in kinds.items()) != s["hidden"]:
                    wrong.append("kinds")
                if said["first"] not in self.told:
                    self.told.add(said["first"])
                    self.covered += s["hidden"]
                    self.all -= said["records"]
                    self.requests += kinds.get("request", 0)
        else:
            wrong = [k for k in {*kinds, *s["kinds"]} if kinds.get(k) != s["kinds"].get(k)]
            wrong += [k for k in ("from", "to", "bytes") if said.get(k) != s[k]]
            q = r.get("requests")
            for name, mine in (s["requests"].items() if q is not None else ()):
                theirs = q.get(name, {} if isinstance(mine, dict) else 0)
                if isinstance(mine, int) or len(mine) <= 16 and all(len(k) <= 40 for k in mine):
                    wrong += [f"requests.{name}"] if theirs != mine else []
        if wrong:
            problems.append(f"rollup record {seq}: {', '.join(wrong)} is not what the records {said['first']} to {s['end'] - 1} give")


    def refused(self, said, kinds, theirs, mine):
        """Of denied and limited requests all are given, if the segment surely is in the period."""
        longest = max([2 * int(n) for n in theirs.get("duration_ns", {})], default=0) + 24 * 3600 * 10**9
        inside = (not kinds.get("log.clock") and not kinds.get("log.open") and said["from"] <= said["to"] and nanos(said["from"]) - longest >= self.period[0]
                  and nanos(said["to"]) + longest < self.period[1])
        wrong = []
        for name, values in EXACT.items():
            for value in values if not theirs.get("other", {}).get(name) else ():
                n, given = theirs.get(name, {}).get(value, 0), mine[name].get(value, 0)
                if n < given or inside and n > given:
                    wrong.append(f"requests.{name}.{value}")
        return wrong


# --- one log ---------------------------------------------------------------------------------

class Log:
    def __init__(self, pack, manifest, entry, keys, populations, used):
        self.pack, self.manifest, self.folder, self.keys, self.used = pack, manifest, entry["folder"], keys, used
        self.log = log = form(self.json("log.json"), LOG, self.folder + "log.json")
        for name in ("origin", "tree_size", "root"):
            if log[name] != entry[name]:
                raise Bad(f"{self.folder}log.json is of another log, or another head of it, than manifest.json says")
        at = log["first"]
        if not 0 <= at <= log["next"] <= log["tree_size"]:
            raise Bad(f"{self.folder}log.json: its numbers do not fit together")
        for p in log["pieces"]:
            if p["first"] != at or p["count"] < 1 or p["form"] == "records" and "why" in p:
                raise Bad(f"{self.folder}log.json: record {at} is missing")
            at += p["count"]
        if at != log["next"] or log["segments"] != sorted(set(log["segments"])):
            raise Bad(f"{self.folder}log.json: records {at} to {log['next'] - 1} are missing, or its segments are not in order")
        self.known = []
        self.checkpoints()
        self.tree, self.segments = Tree(), Segments(log, manifest["period"])
        self.rows = {p["name"]: Rows(pack, self.folder, p, p["name"] != "requests")
                     for p in populations if p["name"] != "requests" or manifest["full"]}
        if not {s["population"] for s in manifest.get("samples", [])} <= {p["name"] for p in populations}:
            raise Bad("manifest.json: it has a sample of a population that packs do not have")
        self.account = Account(log, manifest["period"], populations, self.rows, manifest.get("samples", []))
        self.read = self.hidden = self.unreadable = 0
        self.lost = False
        self.ends = [None, None]

    def use(self, name):
        self.used.add(self.folder + name)
        return self.folder + name

    def json(self, name):
        return self.pack.json(self.use(name))

    def hash(self, text):
        try:
            h = base64.b64decode(text, validate=True)
        except ValueError:
            h = b""
        if len(h) != 32 or base64.b64encode(h).decode() != text:
            raise Bad(f"{self.folder}log.json: {text!r} is no hash")
        return h

    def checkpoints(self):
        log, name = self.log, self.use("checkpoint")
        *head, _ = open_checkpoint(self.pack.bytes(name), self.keys, name)
        if head[0] is None:
            raise Bad(f"{name}: it is not signed by a key that was given")
        if head != [log["origin"], log["tree_size"], log["root"]]:
            raise Bad(f"{name}: it does not sign the head that manifest.json gives")
        name = self.use("checkpoints")
        proofs = {p["size"]: [self.hash(h) for h in p["hashes"]] for p in log["proofs"]}
        for note in split_notes(self.pack.bytes(name)):
            origin, size, root, named = open_checkpoint(note, self.keys, name)
            if origin is None and named == log["origin"]:
                unchecked.append(f"{name}: a checkpoint is signed by no key that was given")
                continue
            if origin != log["origin"] or size > log["tree_size"]:
                problems.append(f"{name}: it has a checkpoint of another log, or of more records than the head of the pack")
            elif log["first"] <= size <= log["next"]:
                self.known.append((size, self.hash(root)))
            elif size == log["tree_size"]:
                if root != log["root"]:
                    self.split(size)
            elif size and not consistent(size, log["tree_size"], self.hash(root), self.hash(log["root"]), proofs.get(size, [])):
                self.split(size)
        self.known.sort(key=lambda k: k[0])

    def split(self, size):
        problems.append(f"{self.folder}checkpoints: the log does not go on from its checkpoint of {size} records: "
                        "somebody who has its key wrote two histories, or the proof is missing")

    def compare_root(self):
        while self.known and self.known[0][0] == self.tree.size:
            size, root = self.known.pop(0)
            if size and self.tree.root() != root:
                self.split(size)

    def leaf(self, seq, h, raw):
        self.tree.push(0, h)
        self.compare_root()
        r = None
        if raw is not None:
            r = parse(raw, f"record {seq}")
            if r.get("seq") != seq or r.get("v") != 1 or not isinstance(r.get("time"), str) or not isinstance(r.get("kind"), str):
                raise Bad(f"{self.folder}record {seq} is not one")
        at = r and nanos(r["time"]) + r.get("duration_ns", 0)
        if seq == self.log["first"]:
            self.ends[0] = at
        self.ends[1] = at
        if r is None:
            self.hidden += 1
            self.segments.skip(seq, self.lost)
            return
        self.read += 1
        self.account.add(seq, raw, r)
        self.segments.add(seq, raw, r)

    def walk(self):
        log = self.log
        for height, h in exactly(subtrees(0, log["first"]), log["left"], self.folder):
            self.tree.push(height, self.hash(h))
        self.compare_root()
        for p in log["pieces"]:
            (self.raw if p["form"] == "records" else self.hashes)(p)
        for height, h in exactly(subtrees(log["next"], log["tree_size"]), log["right"], self.folder):
            self.tree.push(height, self.hash(h))
        if self.tree.root() != self.hash(log["root"]):
            raise Bad(f"{self.folder}: the records do not have the root that the checkpoint signs: records were changed, left out or added")

    def raw(self, p):
        name, seq = f"records/{p['first']:020d}.ndjson", p["first"]
        if p["file"] != name:
            raise Bad(f"{self.folder}log.json: {p['file']!r} must have the name {name}")
        for line in self.pack.lines(self.use(name)):
            if not line.endswith(b"\n"):
                raise Bad(f"{self.folder}{name}: a line is cut off")
            self.leaf(seq, hashlib.sha256(b"\0" + line[:-1]).digest(), line[:-1])
            seq += 1
        if seq != p["first"] + p["count"]:
            raise Bad(f"{self.folder}{name} has {seq - p['first']} records, not {p['count']}")

    def hashes(self, p):
        name = f"hashes/{p['first']:020d}.bin"
        if p["file"] != name or p["form"] != "hashes":
            raise Bad(f"{self.folder}log.json: {p['file']!r} must have the name {name}")
        known, self.lost = iter(()), bool(p.get("why"))
        if self.lost:
            problems.append(f"{self.folder}records {p['first']} to {p['first'] + p['count'] - 1} cannot be read, "
                            f"only their hashes are there: {p['why']}")
            self.unreadable += p["count"]
            self.account.missing(p["first"], p["why"])
        elif self.manifest["full"]:
            raise Bad(f"{self.folder}{name}: the pack says that it is full, but has only hashes")
        else:
            known = self.pack.lines(self.use(f"known/{p['first']:020d}.ndjson"))
        data, given = self.pack.bytes(self.use(name), p["count"] * 32), next(known, None)
        if len(data) != 32 * p["count"]:
            raise Bad(f"{self.folder}{name} has not {p['count']} hashes")
        for i in range(p["count"]):
            seq, h, raw = p["first"] + i, data[32 * i:32 * i + 32], None
            if given and given.startswith(b'{"v":1,"seq":%d,' % seq):
                raw = given[:-1]
                if hashlib.sha256(b"\0" + raw).digest() != h:
                    raise Bad(f"{self.folder}known: record {seq} is not the one whose hash is in the log")
                given = next(known, None)
            self.leaf(seq, h, raw)
        if given:
            raise Bad(f"{self.folder}known: a record is not of its piece, or not in order")

    def extent(self):
        log, start, end = self.log, nanos(self.account.start), nanos(self.account.end)
        if log["first"] and not (self.ends[0] and self.ends[0] <= start - LEAD) and not self.pruned():
            problems.append(f"{self.folder}the records begin with {log['first']}, which is not 25 h before the period, "
                            "and no log.erase record says that those before it were removed")
        if log["next"] < log["tree_size"] and not (self.ends[1] and self.ends[1] >= end + TAIL):
            problems.append(f"{self.folder}the records end with {log['next'] - 1}, which is not 1 h after the period, "
                            f"but the log has {log['tree_size']}")

    def pruned(self):
        e = self.log.get("erased")
        if not e:
            return False
        raw = e["record"].encode()
        r = parse(raw, "log.erase record")
        if not included(e["seq"], self.log["tree_size"], hashlib.sha256(b"\0" + raw).digest(), self.hash(self.log["root"]),
                        [self.hash(h) for h in e["proof"]]):
            problems.append(f"{self.folder}log.json: its log.erase record is not in the log")
            return False
        return r["kind"] == "log.erase" and r.get("what") == "retention" and r.get("upto", 0) >= self.log["first"]

    def finish(self, said):
        """Returns the figures of the log."""
        self.walk()
        self.extent()
        f = self.account.figures()
        if self.hidden > self.unreadable:
            hidden = self.hidden - self.unreadable
            self.bounds(said, f, hidden, self.segments.all + self.segments.requests)
            unchecked.append(f"{f['origin']}: {hidden} records are there by their hashes only; what was counted of requests adds up, but follows "
                             f"from raw records, and may be less than they give, as may be denied and limited ones where no rollup record shows it; of {hidden - self.segments.covered} of them no rollup record tells the kinds")
            for name in ("records", "requests", "days"):
                f[name] = said[name]
            f["kinds"] = {**{k: n for k, n in f["kinds"].items() if k not in REQUEST_KINDS},
                          **{k: n for k, n in said["kinds"].items() if k in REQUEST_KINDS}}
            f["populations"]["requests"] = said["populations"]["requests"]
            for i, d in enumerate(f["samples"]):
                if d["population"] == "requests":
                    d["of"], d["seqs"] = (said["samples"][i][name] for name in ("of", "seqs"))
                    if len(d["seqs"]) != min(d["n"], d["of"]) or d["seqs"] != sorted(set(d["seqs"])):
                        raise Bad(f"report.json: the sample of requests with the seed {d['seed']!r} is not one")
                    unchecked.append(f"{f['origin']}: the sample of requests with the seed {d['seed']!r} was not drawn again, because the "
                                     "records of requests are not there; each of its rows is proved to be in the log")
        for d in f["samples"]:
            self.sample(d)
        for rows in self.rows.values():
            rows.end()
            self.used.update(self.folder + n for n in rows.files)
        self.provenance(f)
        return f

    def sample(self, d):
        p = next(p for p in self.account.populations if p["name"] == d["population"])
        seed = d["seed"] if re.fullmatch(r"[A-Za-z0-9._-]{1,60}", d["seed"]) else hashlib.sha256(d["seed"].encode()).hexdigest()[:16]
        name = self.use(f"samples/{d['population']}_{seed}.csv")
        rows, records = self.pack.lines(name), self.pack.lines(self.use(f"samples/{d['population']}_{seed}.ndjson"))
        if next(rows, b"") != (",".join([c["name"] for c in p["columns"]] + ["leaf_sha256", "proof"]) + "\r\n").encode():
            raise Bad(f"{name}: its first line does not have the names of the columns")
        for seq, row, raw in itertools.zip_longest(d["seqs"], rows, records, fillvalue=b""):
            if b"" in (seq, row, raw) or not raw.endswith(b"\n"):
                raise Bad(f"{name}: it does not have the rows, or the records, that are drawn")
            r, leaf = parse(raw[:-1], name), hashlib.sha256(b"\0" + raw[:-1]).digest()
            cells = ",".join([cell(member(r, c["member"]), c["type"]) for c in p["columns"]] + [leaf.hex()])
            if r.get("seq") != seq or not belongs(p, r) or not self.account.start <= r["time"] < self.account.end:
                raise Bad(f"{name}: record {seq}, which is drawn, is not there")
            start, _, proof = row.decode().removesuffix("\r\n").rpartition(",")
            if start != cells or not row.endswith(b"\r\n") or proof != " ".join(proof.split()):
                raise Bad(f"{name}: the row of record {seq} is not the one that the record gives")
            if not included(seq, self.log["tree_size"], leaf, self.hash(self.log["root"]), [self.hash(h) for h in proof.split()]):
                raise Bad(f"{name}: the proof of record {seq} does not lead to the root that is signed")

    def bounds(self, said, given, hidden, most):
        """What is said of requests has to add up, and to have what the given records give."""
        def want(ok, what):
            if not ok:
                problems.append(f"report.json: the log {given['origin']}: {what} does not add up, or is not what the given records give")
        q, g, n = said["requests"], given["requests"], said["requests"]["total"]
        kinds, rows, days = said["kinds"], said["populations"]["requests"], said["days"]
        more = [kinds.get(k, 0) - given["kinds"].get(k, 0) for k in REQUEST_KINDS]
        want(sum(kinds.values()) == said["records"] and min(more) >= 0 and sum(more) <= hidden, "kinds")
        want(n == kinds.get("request", 0) == rows["count"] and n <= most, "requests.total")
        want(q["bytes"] >= g["bytes"] and g["authenticated"] <= q["authenticated"] <= n, "requests")
        want(rows["first_seq"] is rows["last_seq"] is None if n == 0 else
             None not in (rows["first_seq"], rows["last_seq"]) and said["first"] <= rows["first_seq"] <= rows["last_seq"] < said["next"],
             "populations.requests")
        want(set(q["by"]) == set(g["by"]), "requests.by")
        for name, mine in g["by"].items():
            table = q["by"].get(name, {})
            want(sum(max(x, 0) for x in table.values()) == n and len(table) <= 1001, f"requests.by.{name}")
            if not table.get("(other)"):
                want(all(table.get(k, 0) >= x for k, x in mine.items()) and
                     all(table.get(k) == mine.get(k) for k in EXACT.get(name, ())), f"requests.by.{name}")
        nothing = {"requests": 0, "bytes": 0, "class": {}, "denied": 0, "limited": 0, "plain": 0}
        for date in {*days, *given["days"]}:
            d, known = days.get(date, nothing), given["days"].get(date, nothing)
            want(d["requests"] == sum(max(x, 0) for x in d["class"].values()) >= max(1, known["requests"]) and d["bytes"] >= known["bytes"] and
                 all(x >= known["class"].get(k, 0) for k, x in d["class"].items()) and known["plain"] <= d["plain"] <= d["requests"] and
                 d["denied"] == known["denied"] and d["limited"] == known["limited"], f"days.{date}")
        want([sum(d[k] for d in days.values()) for k in ("requests", "bytes", "plain")] == [n, q["bytes"], q["by"]["tls"].get("none", 0)], "days")

    def provenance(self, f):
        sums = {x["path"]: x["sha256"] for x in self.manifest["files"]}
        for p in self.account.populations:
            name, n = p["name"], f["populations"][p["name"]]
            files = self.rows[name].files if name in self.rows else []
            query = (f"records {f['first']} to before {f['next']} of the log that belong to the population {name}, "
                     f"with {self.account.start} <= time < {self.account.end}")
            want = {
                "population": name, "title": p["title"], "definitions_sha256": sums["scope/populations.json"], "query": query,
                "period": self.manifest["period"], "time_zone": "UTC", "log": {k: f[k] for k in ("origin", "tree_size", "root")},
                "examined_first": f["first"], "examined_next": f["next"], "rows": n["count"], "first_seq": n["first_seq"],
                "last_seq": n["last_seq"], "gaps": f["gaps"], "files": {x: sums.get(self.folder + x) for x in files},
            }
            if self.json(f"populations/{name}.provenance.json") != want:
                problems.append(f"{self.folder}populations/{name}.provenance.json is not what the records give")


def exactly(heights, hashes, folder):
    heights = list(heights)
    if len(heights) != len(hashes):
        raise Bad(f"{folder}log.json does not have the hashes that lead to the root")
    return zip(heights, hashes)


# --- the whole -------------------------------------------------------------------------------

def judge(mapping, definitions, logs):
    by, result = {}, []
    for d in definitions:
        for c in d["criteria"]:
            by.setdefault(c, []).append(d["id"])
    states = {}
    for f in logs:
        for id_, c in f["checks"].items():
            failed, known = states.get(id_, (False, False))
            for state, ns in c["ns"].items():
                failed, known = failed or ns > 0 and state in ("fail", "warn"), known or ns > 0 and state != "unknown"
            states[id_] = failed, known
    for c in mapping["criteria"]:
        checks = sorted(by.get(c["id"], []))
        exceptions = [i for i in checks if states.get(i, (False, False))[0]]
        no_data = [i for i in checks if states.get(i, (False, False)) == (False, False)]
        state = ("not assessed" if c["strength"] == "not_assessed" else "exceptions" if exceptions else
                 "no data" if checks and len(no_data) == len(checks) else "evidence collected")
        result.append({"id": c["id"], "state": state, "checks": checks, "exceptions": exceptions, "no_data": no_data})
    return result


def sheets(logs):
    """The tables that repeat the report, by name."""
    rows = {name: [] for name in SHEETS}
    for f in logs:
        add = lambda name, *cells: rows[name].append([f["origin"], *cells])
        for x in f["findings"]:
            t = x.get("triage", {})
            add("incidents/findings.csv", x["seq"], *(x.get(k) for k in ("check", "subject", "severity", "result", "opened", "closed")),
                *(t.get(k) for k in ("verdict", "time", "seq", "by", "known", "claim", "owner", "ticket", "reason")))
        for x in f["accepted_risks"]:
            add("exceptions/accepted-risks.csv", *(x.get(k) for k in (
                "seq", "source", "check", "time", "verdict", "owner", "approver", "by", "known", "claim", "ticket", "reason", "expires", "ended")))
        for date, d in sorted(f["days"].items()):
            by = [d["class"].get(f"{i}xx", 0) for i in range(1, 6)]
            add("traffic/daily.csv", date, d["requests"], d["bytes"], *by, d["requests"] - sum(by), d["denied"], d["limited"], d["plain"])
        for table, names in sorted(f["requests"]["by"].items()):
            for name in sorted(names, key=str.encode):
                add("traffic/tables.csv", table, name, names[name])
        for id_ in sorted(f["upstreams"], key=str.encode):
            u = f["upstreams"][id_]
            for state in sorted(u["ns"], key=str.encode):
                add("availability/upstreams.csv", id_, state, u["ns"][state], u["state"], u["since"], u["transitions"])
    for name, header in SHEETS.items():
        lines = [header] + [",".join(cell(c, "text") for c in row) for row in rows[name]]
        yield name, "".join(line + "\r\n" for line in lines).encode()


ABSENT = "(nothing)"


def differ(path, got, want):
    if isinstance(got, dict) and isinstance(want, dict):
        for name in sorted({*got, *want}):
            differ(f"{path}.{name}" if path else name, got.get(name, ABSENT), want.get(name, ABSENT))
    elif isinstance(got, list) and isinstance(want, list):
        for i in range(max(len(got), len(want))):
            differ(f"{path}[{i}]", got[i] if i < len(got) else None, want[i] if i < len(want) else None)
    elif got != want or type(got) is not type(want):
        problems.append(f"report.json: {path} is {got!r}, but the records give {want!r}")


def pinned(pack, name, versions, used):
    used.add(name)
    b = pack.bytes(name)
    version = parse(b, name).get("version")
    if type(version) is not int:
        raise Bad(f"{name}: its version is not a number")
    if version not in versions:
        raise CannotTell(f"{name} is of version {version}, which this program does not know")
    if hashlib.sha256(b).hexdigest() != versions[version]:
        raise Bad(f"{name} is not the one of version {version}")
    return parse(b, name)


def check_manifest(pack, m):
    if m.get("schema") != SCHEMA:
        raise Bad(f"manifest.json is of the schema {m.get('schema')!r}")
    if not stored(m["period"]["from"]) < stored(m["period"]["to"]):
        raise Bad("manifest.json: its period ends before it begins")
    if m["period"]["from"] < "1970" or m["period"]["to"] >= "2201":
        raise Bad("manifest.json: its period is not between the years 1970 and 2200")
    for f in m["files"]:
        end = f["path"].rsplit("/", 1)[-1].rpartition(".")
        if f["media_type"] != MEDIA.get(end[1] + end[2], MEDIA[""]):
            raise Bad(f"manifest.json: {f['path']} has a wrong media type")
    h = hashlib.sha256(f"{SCHEMA}\n{stored(m['period']['from'])}\n{stored(m['period']['to'])}\n{'true' if m['full'] else 'false'}\n".encode())
    for l in m["logs"]:
        h.update(f"{l['origin']}\n{l['tree_size']}\n{l['root']}\n".encode())
        folder = re.sub(r"[^A-Za-z0-9.-]", "_", l["origin"])
        folder = "x" + folder if folder[:1] in ("", ".", "_", "-") else folder
        if l["folder"] != f"logs/{folder[:100]}/":
            raise Bad("manifest.json: the folder of a log is wrong")
    samples = [(s["population"], s["seed"]) for s in m.get("samples", [])]
    for s in m.get("samples", []):
        h.update(f"sample\n{s['population']}\n{s['n']}\n{s['seed']}\n".encode())
        if set(s) != {"population", "n", "seed"} or not 1 <= s["n"] <= 1000 or not re.fullmatch(r"[ -~]{1,200}", s["seed"]):
            raise Bad("manifest.json: a sample cannot be one")
    if samples != sorted(set(samples)) or len(samples) > 20:
        raise Bad("manifest.json: its samples are not in order, or too many")
    folders = [l["folder"].lower() for l in m["logs"]]
    if m["pack_id"] != h.hexdigest()[:32] or not folders or folders != sorted(set(folders)):
        raise Bad("manifest.json: its pack_id is not the one of its period and logs, or its logs are not in order")


def check_files(pack, m):
    paths = [f["path"] for f in m["files"]]
    if paths != sorted(set(paths)) or {*paths, "manifest.json", "manifest.dsse.json"} != set(pack.files):
        only = sorted(set(paths) ^ set(pack.files) - {"manifest.json", "manifest.dsse.json"})
        raise Bad(f"manifest.json and the container do not have the same files: {', '.join(only[:5])}")
    for f in m["files"]:
        if pack.files[f["path"]][2] != f["size"]:
            raise Bad(f"{f['path']} has not the size that manifest.json says")
        h = hashlib.sha256()
        for chunk in pack.chunks(f["path"]):
            h.update(chunk)
        if h.hexdigest() != f["sha256"]:
            raise Bad(f"{f['path']}: its SHA-256 is not the one that manifest.json says")


def verify(name, keys):
    pack = Pack(name)
    m = form(pack.json("manifest.json"), MANIFEST, "manifest.json")
    check_manifest(pack, m)
    signed = verify_envelope(pack, m, keys)
    check_files(pack, m)
    used, report = {"report.json"}, pack.json("report.json")
    definitions = pinned(pack, "scope/populations.json", POPULATIONS, used)
    pinned(pack, "scope/boundary.json", BOUNDARY, used)
    populations = [p for p in definitions["populations"] if not p.get("derived")]
    figures = []
    if len(report["logs"]) != len(m["logs"]):
        raise Bad("report.json does not have the figures of each log")
    records = 0
    for entry, said in zip(m["logs"], report["logs"]):
        log = Log(pack, m, entry, keys, populations, used)
        figures.append(log.finish(said))
        records += log.read
    used.add("checks/definitions.ndjson")
    mapping = pinned(pack, "criteria/mapping.json", CRITERIA, used)
    if next(f["sha256"] for f in m["files"] if f["path"] == "checks/definitions.ndjson") not in CATALOGUES:
        unchecked.append("checks/definitions.ndjson has not the checks of a version that this program knows: one without results may be missing, or be another")
    checks, sums = [], {}
    for line in pack.lines("checks/definitions.ndjson"):
        d = parse(line[:-1], "checks/definitions.ndjson")
        if d["id"] in sums:
            raise Bad("checks/definitions.ndjson has a check twice")
        checks.append(d)
        sums[d["id"]] = hashlib.sha256(line[:-1]).hexdigest()
    for f in figures:
        for id_, c in f["checks"].items():
            if id_ not in sums:
                unchecked.append(f"the check {id_} was made by a definition that is not in the pack")
            elif sums[id_] != c["definition"]:
                problems.append(f"checks/definitions.ndjson: the definition of {id_} is not the one that its results were made by")
    want = {"schema": SCHEMA, "notice": NOTICE, "pack_id": m["pack_id"], "period": m["period"], "full": m["full"], "logs": figures,
            "criteria": judge(mapping, checks, figures)}
    differ("", report, want)
    for name, content in sheets(figures):
        used.add(name)
        if pack.bytes(name) != content:
            problems.append(f"{name}: it is not the one that the records give")
    unchecked.append("signed, but not made again: " + ", ".join(n for n in PAGES if n in pack.files))
    sizes = {l["folder"]: l["tree_size"] for l in m["logs"]}
    for f in m["files"]:
        path = f["path"]
        if (m_ := re.fullmatch(r"(logs/[^/]+/)stamps/([0-9]{20})\.tsr", path)) and int(m_[2]) <= sizes.get(m_[1], -1):
            unchecked.append(f"{path}: verify it with openssl ts -verify")
        elif path not in used and path not in PAGES:
            problems.append(f"{path}: a pack has no such file")
    if m["generator"] not in GENERATORS:
        raise CannotTell(f"the pack was made by {m['generator']!r}, which this program does not know")
    return m, signed, records


def main(args):
    if len(args) < 2 or args[0].startswith("-"):
        print(__doc__)
        return 2
    try:
        keys = [Key(k) for k in args[1:]]
    except ValueError as e:
        print(f"a key is not NAME+HASH+KEY: {e}", file=sys.stderr)
        return 2
    m, show = None, lambda s: "".join(c if c.isprintable() else "?" for c in s)
    try:
        m, signed, records = verify(args[0], keys)
    except (CannotTell, OSError) as e:
        if not problems:
            print(show(f"cannot verify: {e}"), file=sys.stderr)
            return 3
    except Bad as e:
        problems.append(str(e))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        problems.append(f"a file has not the form that it must have: {e!r}")
    for p in problems[:100]:
        print(show(f"FAILED     {p}"))
    if problems:
        return 1
    print(show(f"VERIFIED   pack {m['pack_id']}, {m['period']['from']} to {m['period']['to']}, signed by {', '.join(signed)}"))
    for l in m["logs"]:
        print(show(f"log        {l['origin']}: {l['tree_size']} records, root {l['root']}"))
    print(f"read       {records} records")
    for u in unchecked:
        print(show(f"unchecked  {u}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
