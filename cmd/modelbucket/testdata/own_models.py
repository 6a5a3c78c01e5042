"""Models as a data scientist would make them, and what scikit-learn says of them.

    own_models.py dump EVENTS.json FOLDER    writes models; prints {file: decisions}
    own_models.py load EVENTS.json MODEL     loads one without a warning; prints decisions
    own_models.py version
"""
import json
import pickle
import sys
import warnings

import joblib
import numpy as np
import pandas
import sklearn
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

if sys.argv[1] == "version":
    print(json.dumps(sklearn.__version__))
    sys.exit()

NAMES = ["bytes_transferred", "packet_count", "connection_duration"]
with open(sys.argv[2]) as f:
    frame = pandas.DataFrame(json.load(f))[NAMES].fillna(0)

if sys.argv[1] == "load":
    warnings.simplefilter("error")
    print(json.dumps(joblib.load(sys.argv[3]).decision_function(frame).tolist()))
    sys.exit()

forest = lambda **more: IsolationForest(n_estimators=30, random_state=7, **more)
minmax = MinMaxScaler(**({"clip": True} if sklearn.__version__ >= "0.24" else {}))
scaler = StandardScaler().fit(frame)
scaled = frame.copy()
scaled[NAMES] = scaler.transform(frame)
models = {
    "pipeline": make_pipeline(StandardScaler(), forest(contamination=0.1)).fit(frame),
    "nested": Pipeline([("a", Pipeline([("b", minmax), ("c", RobustScaler())])), ("d", "passthrough"), ("e", forest())]).fit(frame),
    "forest": forest(max_features=2, bootstrap=True).fit(frame),
    "none": IsolationForest(n_estimators=30).fit(frame),
    "state": IsolationForest(n_estimators=30, random_state=np.random.RandomState(3)).fit(frame),
    "pair": {"scaler": scaler, "model": forest(contamination=0.02).fit(scaled), "trained": "yesterday"},
}
ways = [0, 3, ("zlib", 9), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)]
answers = {}
for name, model in models.items():
    if name == "pair":
        decisions = model["model"].decision_function(scaled)
    else:
        decisions = model.decision_function(frame)
    for i, way in enumerate(ways):
        path = "%s-%d.joblib" % (name, i)
        joblib.dump(model, sys.argv[3] + "/" + path, compress=way)
        answers[path] = decisions.tolist()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = "%s-p%d.joblib" % (name, protocol)
        joblib.dump(model, sys.argv[3] + "/" + path, protocol=protocol)
        answers[path] = decisions.tolist()
        if protocol == 0:
            continue  # its arrays would be lines of any length
        path = "%s-p%d.pkl" % (name, protocol)
        with open(sys.argv[3] + "/" + path, "wb") as f:
            pickle.dump(model, f, protocol=protocol)
        answers[path] = decisions.tolist()
print(json.dumps(answers))
