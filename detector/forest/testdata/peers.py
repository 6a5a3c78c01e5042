"""The peers of BenchmarkFigures: what others do with the same rows, and where they can with the same forest.

Started with a folder. It prints the names and versions of the peers that are installed, then reads a question
from each line of standard input and prints an answer. All times are medians, in seconds."""
import importlib.metadata, json, os, statistics, sys, time, warnings

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # some print
warnings.simplefilter("ignore")
import joblib, numpy
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = sys.argv[1]

def rows(q, dtype=numpy.float64):
    x = numpy.fromfile(os.path.join(folder, q["rows"]), dtype=numpy.float64).reshape(-1, q["width"])
    return numpy.ascontiguousarray(x[:q["n"]], dtype=dtype)

def model(q):
    return joblib.load(os.path.join(folder, q["model"]))

class ScikitLearn:
    needs = ["scikit-learn"]

    def score(self, q):
        pipe, x = model(q), rows(q)
        if q["threads"] == 1:
            return lambda: pipe.decision_function(x)
        def parallel():
            with joblib.parallel_config("threading", n_jobs=q["threads"]):
                return pipe.decision_function(x)
        return parallel

    def fit(self, q):
        x = rows(q)
        return lambda: make_pipeline(StandardScaler(), IsolationForest(contamination=q["contamination"], random_state=42)).fit(x)

    def load(self, q):
        x = rows(q)
        return lambda: model(q).decision_function(x)

class OnnxRuntime:
    needs = ["onnxruntime", "skl2onnx"]

    def score(self, q):
        import onnxruntime, skl2onnx
        pipe, x = model(q), rows(q, numpy.float32)
        graph = skl2onnx.to_onnx(pipe, x[:1], target_opset={"": 15, "ai.onnx.ml": 3})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = q["threads"]
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(["scores"], {session.get_inputs()[0].name: x})[0].ravel()

class Isotree:
    needs = ["isotree"]  # its own forest

    def forest(self, threads):
        import isotree
        return isotree.IsolationForest(ntrees=100, sample_size=256, ndim=1, missing_action="fail", random_seed=42, nthreads=threads)

    def score(self, q):
        forest, x = self.forest(q["threads"]).fit(rows(q | {"n": 20_000})), rows(q)
        return lambda: forest.predict(x) - 0.5

    def fit(self, q):
        x = rows(q)
        return lambda: self.forest(1).fit(x)

class CompiledC:
    needs = ["tl2cgen", "treelite"]

    def __init__(self):
        self.libraries = {}

    def score(self, q):
        import tl2cgen, treelite
        pipe, x = model(q), rows(q)
        scaler, forest = (step for _, step in pipe.steps)
        name = q["model"]
        if name not in self.libraries:
            self.libraries[name] = os.path.join(folder, name + ".so")
            tl2cgen.export_lib(treelite.sklearn.import_model(forest), toolchain="gcc", libpath=self.libraries[name], params={"parallel_comp": 4})
        predictor = tl2cgen.Predictor(self.libraries[name], nthread=q["threads"])
        return lambda: -predictor.predict(tl2cgen.DMatrix(scaler.transform(x))).ravel() - forest.offset_

def there(peer):
    try:
        return " ".join(f"{name} {importlib.metadata.version(name)}" for name in peer.needs)
    except importlib.metadata.PackageNotFoundError:
        return None

def median(f):
    """Of at least three calls and a fifth of a second."""
    times = []
    while len(times) < 3 or sum(times) < 0.2:
        began = time.perf_counter()
        f()
        times.append(time.perf_counter() - began)
        if sum(times) > 2:
            break
    return statistics.median(times)

def worst(q, got):
    if q["do"] != "score" or q["peer"] == "isotree":
        return None
    return float(numpy.abs(got - numpy.fromfile(os.path.join(folder, q["scores"]))[:q["n"]]).max())

peers, prepared = {"scikit-learn": ScikitLearn(), "onnxruntime": OnnxRuntime(), "isotree": Isotree(), "compiled-C": CompiledC()}, {}
print(json.dumps({name: there(peer) for name, peer in peers.items()}), file=answers, flush=True)
for line in sys.stdin:
    q = json.loads(line)
    try:
        if line not in prepared:
            prepared.clear() if len(prepared) > 8 else None
            f = getattr(peers[q["peer"]], q["do"])(q)
            prepared[line] = f, worst(q, f() if q["do"] == "score" else None)
        f, off = prepared[line]
        answer = {"seconds": median(f), "worst": off}
    except Exception as cause:
        answer = {"error": f"{type(cause).__name__}: {cause}"}
    print(json.dumps(answer), file=answers, flush=True)
