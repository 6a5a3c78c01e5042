"""Save, load and ask models in a modelbucket registry. One file, standard library only:
copy it beside your code, or fetch it from any node (GET /modelbucket.py).

    mb = Modelbucket()                                    # MODELBUCKET_SERVER, MODELBUCKET_TOKEN
    v = mb.push("acme/iforest", pipeline, label="v1.0")   # an estimator, a path, or {file name: either}
    mb.alias("acme/iforest", "champion", v.number)
    pipeline = mb.load("acme/iforest@champion")           # its SHA-256 is checked before joblib.load
    answer = mb.detect("acme/iforest@champion", frame)    # DataFrame, list of dicts, or array of rows
    answer.scores                                         # lower is stranger; below 0 is an anomaly

The server executes no artifact; load() does, as joblib.load must: trust whoever may push.
"""
import contextlib, hashlib, http.client, json, os, platform, sys, tempfile, time, urllib.parse, uuid

class Error(Exception):
    """What went wrong: .status (HTTP, 0: no answer), .code (stable), .detail, .hint (what would be right)."""
    def __init__(self, status, code="internal", detail="", hint="", **more):
        super().__init__(f"{code}: {detail}" + (f" ({hint})" if hint else ""))
        self.status, self.code, self.detail, self.hint = status, code, detail, hint

class Record(dict):
    """A JSON object of the API: v["created_at"] and v.created_at are the same."""
    number = property(lambda self: self["version"])
    scores = property(lambda self: [r.get("anomaly_score") for r in self["results"]])  # None where r has an "error"

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(f"no field {name!r}; there are {', '.join(self)}")

class Modelbucket:
    def __init__(self, server=None, token=None, timeout=60.0, tries=5):
        self.url = urllib.parse.urlsplit((server or os.environ.get("MODELBUCKET_SERVER", "http://127.0.0.1:8080")).rstrip("/"))
        self.token, self.timeout, self.tries = token or os.environ.get("MODELBUCKET_TOKEN", ""), timeout, tries

    def push(self, model, what, label=None, aliases=(), tags=None, description="", user_metadata=None, key=None):
        """Save files as one new version. Called again with the same key, it finds that version."""
        meta = {"aliases": list(aliases), "tags": tags or {}, "description": description} | ({"label": label} if label else {})
        seen = {m + "_version": sys.modules[m].__version__ for m in ("sklearn", "numpy", "pandas") if m in sys.modules}
        edge, files = uuid.uuid4().hex, []
        head = lambda fields: f"--{edge}\r\nContent-Disposition: form-data; {fields}\r\n\r\n".encode()
        with tempfile.TemporaryDirectory() as folder:
            for name, item in (what if isinstance(what, dict) else {"": what}).items():
                if isinstance(item, (str, os.PathLike)):
                    name, path = name or os.path.basename(item), item
                else:
                    import joblib
                    name, path = name or "model.joblib", os.path.join(folder, str(len(files)))
                    joblib.dump(item, path, compress=3)
                    seen |= {"joblib_version": joblib.__version__, "estimator": repr(item)[:4096]}
                    if getattr(item, "feature_names_in_", None) is not None:
                        seen["feature_names"] = meta["features"] = [str(f) for f in item.feature_names_in_]
                meta.setdefault("sha256", {})[name] = _sha256(path)
                files += [head(f'name="file"; filename="{name}"'), path, b"\r\n"]
            meta["user_metadata"] = {"python_version": platform.python_version(), **seen, **(user_metadata or {})}
            body = [head('name="metadata"'), _document(meta), b"\r\n", *files, f"--{edge}--\r\n".encode()]
            return self._json("POST", _path(model, "versions", False), body, {
                "Content-Type": "multipart/form-data; boundary=" + edge, "Idempotency-Key": key or str(uuid.uuid4())})

    def show(self, ref):
        return self._json("GET", _path(ref))

    def pull(self, ref, path, name=None):
        """Write a version's file (model.joblib, or its only one) to path: every byte right, or nothing there."""
        v = self.show(ref)
        digests = {f["name"]: f["sha256"] for f in v["files"]}
        name = name or (min(digests) if len(digests) == 1 else "model.joblib")
        if name not in digests:
            raise Error(404, "file_not_found", f"{ref} has no file {name}", "it has " + ", ".join(digests))
        part, pinned = f"{path}.{uuid.uuid4().hex}.part", f"{v['tenant']}/{v['model']}:{v['version']}"
        try:
            with self._ask("GET", _path(pinned, "/files/" + urllib.parse.quote(name))) as answer, open(part, "wb") as out:
                while chunk := answer.read(1 << 20):
                    out.write(chunk)
            if _sha256(part) != digests[name]:
                raise Error(0, "corrupt", f"{name} of {pinned} did not arrive as it was saved", "pull it again")
            os.replace(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(part)
        return v

    def load(self, ref, name=None):
        import joblib
        with tempfile.TemporaryDirectory() as folder:
            self.pull(ref, os.path.join(folder, "artifact"), name)
            return joblib.load(os.path.join(folder, "artifact"))

    def detect(self, ref, events):
        if hasattr(events, "to_dict"):  # a frame; a missing value becomes null
            events = events.astype(object).where(events.notna(), None).to_dict("records")
        elif hasattr(events, "tolist"):
            events = {"rows": events.tolist()}
        return self._json("POST", _path(ref, "/detect"), [_document(events)])

    def alias(self, model, name, version, note="", expect=None):
        """Move an alias; with expect only if it is at that version now (0: only if there is no such alias)."""
        change = {"version": version, "note": note} | ({} if expect is None else {"expect": expect})
        return self._json("PUT", _path(model, "aliases/" + name, False), [_document(change)])

    def _json(self, *request):
        with self._ask(*request) as answer:
            return json.loads(answer.read(), object_hook=Record)

    def _ask(self, method, path, body=(), head=None):
        head = {"Accept": "application/json", "Content-Type": "application/json", "Connection": "close"} | (head or {})
        head |= {"Authorization": "Bearer " + self.token} if self.token else {}
        head |= {"Content-Length": str(sum(len(p) if isinstance(p, bytes) else os.path.getsize(p) for p in body))} if body else {}
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        for attempt in range(1, self.tries + 1):
            link, wait = kind(self.url.netloc, timeout=self.timeout), 0.2 * 2**attempt
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused early: the answer says why
                    link.request(method, self.url.path + path, _stream(*body) if body else None, head)
                answer = link.getresponse()
                if answer.status < 300:
                    return answer
                text, asked = answer.read(), answer.getheader("Retry-After", "")
                wait = float(asked) if asked.isdecimal() else wait
                is_problem = "problem+json" in answer.getheader("Content-Type", "")
                failure = Error(**(json.loads(text) if is_problem else {"status": answer.status, "detail": repr(text[:200])}))
            except (OSError, http.client.HTTPException) as cause:
                failure = Error(0, "unavailable", f"{self.url.geturl()}: {cause!r}", "is MODELBUCKET_SERVER right?")
            if attempt == self.tries or failure.status not in (0, 429, 502, 503, 504):
                raise failure
            time.sleep(min(wait, 30))

def _path(ref, rest="", version=True):
    tenant, _, name = ref.rpartition("/")
    at = min((i for i in map(name.find, ":@") if i >= 0), default=len(name))
    middle = "versions/" + (name[at:].lstrip(":") or "latest") if version else ""
    return urllib.parse.quote(f"/v1/tenants/{tenant or 'default'}/models/{name[:at]}/{middle}", safe="/@") + rest

def _document(value):  # numpy's numbers become numbers, what JSON does not know becomes text
    return json.dumps(value, default=lambda v: v.item() if hasattr(v, "item") else str(v), allow_nan=False).encode()

def _stream(*pieces):  # bytes as they are, a path as its file's content
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        with open(piece, "rb") as f:
            while chunk := f.read(1 << 20):
                yield chunk

def _sha256(path):
    digest = hashlib.sha256()
    for chunk in _stream(path):
        digest.update(chunk)
    return digest.hexdigest()
