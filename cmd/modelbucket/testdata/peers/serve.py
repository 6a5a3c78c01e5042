"""The peer of BenchmarkDetect: a detector behind FastAPI, as one writes it. Started with the joblib file."""
import socket, sys, warnings
import joblib, numpy, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

warnings.simplefilter("ignore")
detector = joblib.load(sys.argv[1])
app = FastAPI()

class Event(BaseModel):
    bytes_transferred: float
    packet_count: float
    connection_duration: float

@app.post("/detect")
def detect(events: list[Event]):
    x = numpy.array([[e.bytes_transferred, e.packet_count, e.connection_duration] for e in events])
    scores = detector.decision_function(x).tolist()
    return {"results": [{"index": i, "is_anomaly": s < 0, "anomaly_score": s} for i, s in enumerate(scores)]}

listener = socket.create_server(("127.0.0.1", 0))
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
