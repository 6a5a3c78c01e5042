package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/registry"
	"modelbucket/web"
)

// trickle is a body that goes on and on: a pause, and a piece. It ends at last.
type trickle struct {
	head, piece string // the head comes before the first piece
	left        int
}

func (b *trickle) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	b.left--
	time.Sleep(time.Second)
	n = copy(p, b.head+b.piece)
	b.head = ""
	return n, nil
}

// slowReader takes an answer in at two writes a second.
type slowReader struct{ recorder }

func (r slowReader) Write(p []byte) (int, error) {
	time.Sleep(500 * time.Millisecond)
	return r.recorder.Write(p)
}

// longRequest takes two minutes, by who may.
type longRequest struct{ who, method, path, kind, head, piece string }

var underWay = map[string]longRequest{
	"stream":         {"scorer", "POST", "/v1/tenants/acme/models/fraud/detect", "application/x-ndjson", "", oneEvent + "\n"},
	"body of events": {"scorer", "POST", "/v1/tenants/acme/models/fraud/detect", "text/csv", "packet_count\n", "1\n"},
	"upload":         {"writer", "POST", "/v1/tenants/acme/models/fraud/versions", "application/octet-stream", "", strings.Repeat("x", 20_000)},
	"training":       {"writer", "POST", "/v1/tenants/acme/models/fraud/train", "text/csv", "packet_count\n", "1\n2\n3\n"},
	"download":       {who: "reader", method: "GET", path: "/v1/tenants/acme/models/large/versions/1/files/model.joblib"},
}

// send returns the answer, which comes after two minutes, or when the request is ended.
func (u longRequest) send(n *callers) (status int, answer string, took time.Duration) {
	w := recorder{httptest.NewRecorder()}
	answerTo := http.ResponseWriter(w)
	r := n.request(u.who, u.method, u.path, &trickle{u.head, u.piece, 120}, "Content-Type", u.kind)
	if u.piece == "" {
		r.Body, r.ContentLength = http.NoBody, 0
		answerTo = slowReader{w}
	}
	began := time.Now()
	defer func() {
		if broken := recover(); broken != nil && broken != http.ErrAbortHandler {
			panic(broken)
		}
		status, answer, took = w.Code, w.Body.String(), time.Since(began)
	}()
	n.server.ServeHTTP(answerTo, r)
	return
}

// TestRevokedUnderWay: what was begun with a key ends within 30 s of the key's revocation
// on another node, and saves nothing; what was begun with another goes on to its end.
func TestRevokedUnderWay(t *testing.T) {
	for name, u := range underWay {
		for _, revoked := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 2, nil)
				c.train()
				large := strings.Repeat("0123456789", 6_000_000)
				c.nodes[0].must(t, "root", "POST", "/v1/tenants/acme/models/large/versions", large, http.StatusCreated, "Content-Type", "application/octet-stream")
				keys := map[string]registry.KeyID{}
				for _, role := range []registry.Role{registry.Scorer, registry.Writer, registry.Reader} {
					keys[string(role)] = c.key(string(role), registry.NewKey{Tenant: "acme", Role: role})
				}
				c.nodes[1].ask(u.who, "GET", "/v1/detectors", "") // the key is known
				if revoked {
					time.AfterFunc(time.Minute, func() {
						c.nodes[0].must(t, "root", "DELETE", "/v1/tenants/acme/keys/"+string(keys[u.who]), "", http.StatusOK)
					})
				}
				status, answer, took := u.send(c.nodes[1].callers)
				switch {
				case !revoked:
					if status >= 300 || took < 100*time.Second || name == "stream" && !strings.Contains(answer, `{"summary":`) || name == "download" && answer != large {
						t.Errorf("%s: %d after %v, %d bytes: %.300s", name, status, took, len(answer), answer)
					}
				case took > 90*time.Second || took < time.Minute:
					t.Errorf("%s, revoked after a minute: ended after %v", name, took)
				case name == "download":
					if len(answer) > len(large)*3/4 {
						t.Errorf("%s: %d bytes came", name, len(answer))
					}
				case !strings.Contains(answer, "was revoked") || name != "stream" && status != http.StatusUnauthorized:
					t.Errorf("%s: %d, at its end %s", name, status, answer[max(0, len(answer)-300):])
				}
				versions := c.nodes[0].must(t, "root", "GET", "/v1/tenants/acme/models/fraud/versions", "", http.StatusOK)
				saved := strings.Contains(versions, `"version":2`)
				if changes := name == "upload" || name == "training"; saved != (changes && !revoked) {
					t.Errorf("%s, revoked %v: saved %v", name, revoked, saved)
				}
			})
		}
	}
}

// TestAwayUnderWay: while the store is away a stream goes on for the grace, and an upload
// for as long as the store lets it; the latter ends well when the store is back.
func TestAwayUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, func(o *web.Options) { o.AuthGrace = time.Minute })
		n := c.nodes[0]
		c.train()
		c.key("scorer", registry.NewKey{Tenant: "acme", Role: registry.Scorer})
		c.key("writer", registry.NewKey{Tenant: "acme", Role: registry.Writer})
		time.AfterFunc(10*time.Second, n.cutOff)
		if _, answer, took := underWay["stream"].send(n.callers); took < time.Minute || took > 90*time.Second || !strings.Contains(answer, `"code":"auth_unavailable"`) {
			t.Errorf("stream: ended after %v: %s", took, answer[max(0, len(answer)-300):])
		}
		n.reconnect()
		time.Sleep(10 * time.Second)
		time.AfterFunc(30*time.Second, n.cutOff)
		time.AfterFunc(60*time.Second, n.reconnect)
		if status, answer, _ := underWay["training"].send(n.callers); status != http.StatusCreated {
			t.Errorf("training: %d %.300s", status, answer)
		}
	})
}

// TestIssuedUnderWay: a token of an issuer that ends meanwhile ends a stream, which could
// go on for ever, and nothing else.
func TestIssuedUnderWay(t *testing.T) {
	s := newSigners(t)
	synctest.Test(t, func(t *testing.T) {
		i, way := reached(t, public("r", s.rsa))
		c := newCluster(t, 1, trusting(i, way, rules(t, "groups=writers:writer@acme")...))
		n := c.nodes[0]
		c.train()
		for _, name := range []string{"scorer", "writer"} {
			n.tokens[name] = i.token(s, "r", map[string]any{"exp": time.Now().Add(time.Minute).Unix()})
		}
		upload := make(chan int)
		go func() {
			status, _, _ := underWay["upload"].send(n.callers)
			upload <- status
		}()
		if _, answer, took := underWay["stream"].send(n.callers); took < time.Minute || took > 65*time.Second || !strings.Contains(answer, "it has expired") {
			t.Errorf("stream: ended after %v: %s", took, answer[max(0, len(answer)-300):])
		}
		if status := <-upload; status != http.StatusCreated {
			t.Errorf("upload: %d", status)
		}
	})
}
