"""What real scikit-learn says of a file that the Go program wrote.

    peer.py versions
    peer.py judge JOB.json    prints the answers as JSON

The job names the file, the rows (float64, little-endian, row by row), their shape, the
training parameters and the names of the features. The judge trains the same pipeline
itself and compares the two attribute by attribute: types, arrays, bits.
"""
import json
import sys
import warnings

import joblib
import numpy as np
import sklearn
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler


def differences(a, b, path, out):
    """Where a (from the file) and b (trained here) differ."""
    if type(a) is not type(b):
        out.append("%s: %s instead of %s" % (path, type(a), type(b)))
    elif isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            out.append("%s: %s%s instead of %s%s" % (path, a.dtype, a.shape, b.dtype, b.shape))
        elif a.dtype == object:
            differences(a.tolist(), b.tolist(), path, out)
        elif "_average_path_length_per_tree" in path:
            # logarithms: the last bits are the machine's
            if not np.allclose(a, b, rtol=1e-15, atol=0):
                out.append("%s differs" % path)
        elif a.dtype.names:
            for name in a.dtype.names:
                if a[name].tobytes() != b[name].tobytes():
                    out.append("%s.%s differs" % (path, name))
        elif a.tobytes() != b.tobytes():
            out.append("%s differs" % path)
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            out.append("%s: %d items instead of %d" % (path, len(a), len(b)))
        for i, (x, y) in enumerate(zip(a, b)):
            differences(x, y, "%s[%d]" % (path, i), out)
    elif isinstance(a, dict):
        if list(a) != list(b) and set(a) != set(b):
            out.append("%s: attributes %s" % (path, sorted(set(a) ^ set(b))))
        for k in a:
            if k in b:
                differences(a[k], b[k], "%s.%s" % (path, k), out)
    elif path.endswith("offset_"):
        if abs(a - b) > 2.3e-16:
            out.append("%s: %r instead of %r" % (path, a, b))
    elif type(a).__module__ == "sklearn.tree._tree":
        differences(list(a.__reduce__()[1]) + [a.__getstate__()], list(b.__reduce__()[1]) + [b.__getstate__()], path, out)
    elif type(a).__module__.startswith("sklearn."):
        differences(a.__getstate__(), b.__getstate__(), path, out)
    elif a != b:
        out.append("%s: %r instead of %r" % (path, a, b))


def judge(job):
    model = joblib.load(job["file"])
    n, d = job["shape"]
    x = np.fromfile(job["rows"], "<f8").reshape(n, d)
    # A frame keeps its columns together; the order of the scaler's sums depends on it.
    frame = np.asfortranarray(x)
    own = Pipeline([("scaler", StandardScaler()), ("forest", IsolationForest(**job["params"]))]).fit(frame)
    if job["names"]:
        own[0].feature_names_in_ = np.array(job["names"], dtype=object)
    found = []
    differences(model, own, "pipeline", found)

    joblib.dump(model, job["again"], compress=3)
    again = joblib.load(job["again"])
    names = getattr(model, "feature_names_in_", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the rows have no names
        decisions, own_decisions, after = (m.decision_function(x) for m in (model, own, again))
    return {
        "differences": found[:20],
        "decisions": decisions.tolist(),
        "worst": float(np.abs(decisions - own_decisions).max()),
        "same_after_dump": bool((decisions == after).all()),
        "names": None if names is None else names.tolist(),
        "params": model.get_params(),
    }


def plain(v):
    """How the Go program writes an estimator."""
    return "<%s.%s>" % (type(v).__module__, type(v).__name__)


if __name__ == "__main__":
    warnings.simplefilter("error")
    if sys.argv[1] == "versions":
        print(json.dumps({"sklearn": sklearn.__version__, "numpy": np.__version__, "joblib": joblib.__version__}))
    else:
        with open(sys.argv[2]) as f:
            print(json.dumps(judge(json.load(f)), default=plain))
