"""modelbucket.py against a real node and real scikit-learn. MODELBUCKET_SERVER and
MODELBUCKET_TOKEN name the node; MODELBUCKET_TEST_EVENTS is a JSON file of events."""
import json, os, pathlib, socket, tempfile, threading, unittest, uuid

import joblib, numpy, pandas
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import modelbucket
from modelbucket import Error, Modelbucket

FEATURES = ["bytes_transferred", "packet_count", "connection_duration"]
EVENTS = json.loads(pathlib.Path(os.environ["MODELBUCKET_TEST_EVENTS"]).read_text())
FRAME = pandas.DataFrame(EVENTS)[FEATURES]


def trained(seed=42):
    steps = [("scaler", StandardScaler()), ("forest", IsolationForest(contamination=0.1, random_state=seed))]
    return Pipeline(steps).fit(FRAME)


class Client(unittest.TestCase):
    def setUp(self):
        self.mb = Modelbucket()
        self.model = f"acme/python_{uuid.uuid4().hex[:8]}"

    def test_push_load_detect_alias(self):
        pipeline = trained()
        v = self.mb.push(self.model, pipeline, label="v1.0", tags={"team": "soc"}, user_metadata={"accuracy": 0.95})
        self.assertEqual((v.number, v.label, v.tags), (1, "v1.0", {"team": "soc"}))
        self.assertEqual(v.user_metadata["accuracy"], 0.95)
        self.assertEqual(v.user_metadata["feature_names"], FEATURES)
        self.assertIn("sklearn_version", v.user_metadata)
        self.assertIn("IsolationForest", v.user_metadata["estimator"])

        moved = self.mb.alias(self.model, "champion", v.number, note="first", expect=0)
        self.assertEqual((moved.version, moved.revision), (1, 1))
        again = self.mb.load(self.model + "@champion")
        want = pipeline.decision_function(FRAME)
        numpy.testing.assert_array_equal(again.decision_function(FRAME), want)

        for events in (FRAME, EVENTS, FRAME.to_numpy()):
            answer = self.mb.detect(self.model + "@champion", events)
            self.assertEqual(answer.version, 1)
            numpy.testing.assert_allclose(answer.scores, want, rtol=0, atol=1e-12)
        holes = FRAME.astype(float).copy()
        holes.iloc[0, 1] = float("nan")
        filled = holes.fillna(0)
        numpy.testing.assert_allclose(self.mb.detect(self.model, holes).scores, pipeline.decision_function(filled), rtol=0, atol=1e-12)

    def test_scaler_and_forest_as_two_files(self):
        scaler = StandardScaler().fit(FRAME)
        forest = IsolationForest(random_state=1).fit(scaler.transform(FRAME))
        v = self.mb.push(self.model, {"model.joblib": forest, "scaler.joblib": scaler})
        self.assertEqual([f.name for f in v.files], ["model.joblib", "scaler.joblib"])
        self.assertEqual(self.mb.load(self.model, "scaler.joblib").n_features_in_, 3)
        want = forest.decision_function(scaler.transform(FRAME))
        numpy.testing.assert_allclose(self.mb.detect(self.model, FRAME).scores, want, rtol=0, atol=1e-12)

    def test_any_file_streams_and_the_same_key_finds_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "weights.bin")
            pathlib.Path(path).write_bytes(os.urandom(3 << 20))
            v = self.mb.push(self.model, path, key="once")
            self.assertEqual(self.mb.push(self.model, path, key="once").number, v.number)
            self.mb.pull(self.model, os.path.join(folder, "back"))
            self.assertEqual(pathlib.Path(path).read_bytes(), pathlib.Path(folder, "back").read_bytes())
            self.assertEqual(sorted(os.listdir(folder)), ["back", "weights.bin"])

    def test_errors_say_what_would_be_right(self):
        with self.assertRaises(Error) as caught:
            self.mb.load(self.model)
        self.assertEqual((caught.exception.status, caught.exception.code), (404, "model_not_found"))
        self.mb.push(self.model, trained(), label="v1")
        with self.assertRaises(Error) as caught:
            self.mb.push(self.model, trained(7), label="v1")
        self.assertEqual(caught.exception.code, "label_taken")
        self.assertTrue(caught.exception.hint)
        with self.assertRaises(Error) as caught:
            Modelbucket(token="wrong").push(self.model, trained())
        self.assertEqual(caught.exception.code, "unauthenticated")
        with self.assertRaises(Error) as caught:
            self.mb.pull(self.model, "nowhere", name="other.bin")
        self.assertEqual(caught.exception.code, "file_not_found")

    def test_a_wrong_byte_is_never_loaded(self):
        self.mb.push(self.model, trained())
        loaded = []
        original, chunks = modelbucket._sha256, joblib.load
        modelbucket._sha256 = lambda path: "0" * 64
        joblib.load = loaded.append
        try:
            with self.assertRaises(Error) as caught:
                self.mb.load(self.model)
        finally:
            modelbucket._sha256, joblib.load = original, chunks
        self.assertEqual((caught.exception.code, loaded), ("corrupt", []))


class Retries(unittest.TestCase):
    """A server that is busy twice, as a script of answers."""

    def test_waits_as_told_and_keeps_its_key(self):
        keys = []
        answers = [b"HTTP/1.1 503 x\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", b"",
                   b'HTTP/1.1 201 x\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"version":1}']
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            for answer in answers:
                link, _ = listener.accept()
                with link:
                    text = b""
                    while b"--\r\n" not in text[-6:]:
                        text += link.recv(1 << 16)
                    keys.append([line for line in text.split(b"\r\n") if line.lower().startswith(b"idempotency-key")])
                    link.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        mb = Modelbucket(f"http://127.0.0.1:{listener.getsockname()[1]}", "t")
        self.assertEqual(mb.push("m", __file__).number, 1)
        server.join()
        listener.close()
        self.assertEqual(len(keys), 3)
        self.assertEqual(keys[0], keys[2])
        self.assertEqual(len(keys[0]), 1)


if __name__ == "__main__":
    unittest.main()
