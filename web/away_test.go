package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelbucket/blob"
	"modelbucket/blob/blobtest"
	"modelbucket/registry"
	"modelbucket/web"
)

// tally counts the calls that reach the store, by the moment at which they began.
type tally struct {
	mu sync.Mutex
	at map[time.Time]int
}

func (c *tally) call(k blob.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[time.Now().Add(-k.Duration)]++
}

// between counts the calls of a span of time, and the most of one second of it.
func (c *tally) between(from, to time.Time) (all, mostInSecond int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	perSecond := map[time.Duration]int{}
	for at, n := range c.at {
		if !at.Before(from) && at.Before(to) {
			all += n
			perSecond[at.Sub(from)/time.Second] += n
		}
	}
	for _, n := range perSecond {
		mostInSecond = max(mostInSecond, n)
	}
	return all, mostInSecond
}

func request(method, path, kind, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, kind, len(body), body)
}

const oneEvent = `[{"packet_count":2}]`

func detectOn(model string) string {
	return request("POST", "/v1/tenants/acme/models/"+model+"/detect", "application/json", oneEvent)
}

// TestBlackout: five minutes without the store, which refuses or hangs. What is loaded
// goes on scoring; all else is 503 with Retry-After; when the store is back all of it is
// back within five seconds, and the store is not overrun.
func TestBlackout(t *testing.T) {
	const models = 20
	elsewhere := map[string]string{ // what needs the store
		"GET model":    get("/v1/tenants/acme/models/m0"),
		"GET versions": get("/v1/tenants/acme/models/m0/versions"),
		"GET models":   get("/v1/tenants/acme/models"),
		"GET tenants":  get("/v1/tenants"),
		"GET file":     get("/v1/tenants/acme/models/m0/versions/1/files/model.joblib"),
		"GET aliases":  get("/v1/tenants/acme/models/m0/aliases"),
		"publish":      request("POST", "/v1/tenants/acme/models/new/versions", "application/octet-stream", "bytes"),
		"train":        request("POST", "/v1/tenants/acme/models/new/train", "text/csv", "packet_count\n1\n2\n3\n"),
		"set alias":    request("PUT", "/v1/tenants/acme/models/m0/aliases/champion", "application/json", `{"version":1}`),
		"describe":     request("PATCH", "/v1/tenants/acme/models/m0", "application/json", `{"description":"x"}`),
		"verify":       request("POST", "/v1/tenants/acme/models/m0/versions/1/verify", "application/json", ""),
		"detect cold":  detectOn("cold"),
	}
	for name, fault := range map[string]blobtest.Rule{
		"refusing": {Fault: blobtest.Before},
		"hanging":  {Fault: blobtest.Slow, Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			calls := &tally{at: map[time.Time]int{}}
			faulty := blobtest.NewFaulty(blob.NewMemory(), 1)
			own := func(o *web.Options) {
				r, err := registry.Open(context.Background(), blob.Retry(blob.Observe(faulty, calls.call), nil), registry.Options{MaxUpload: 64 << 20})
				if err != nil {
					t.Fatal(err)
				}
				o.Registry = r
			}
			bubble(t, own, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
				training := request("POST", "/v1/tenants/acme/models/%s/train?n_estimators=3", "text/csv", "packet_count\n"+strings.Repeat("1\n2\n3\n", 20))
				for i := range models + 1 {
					m := fmt.Sprint("m", i)
					if i == models {
						m = "cold"
					}
					if answer, body := p.ask(t, fmt.Sprintf(training, m)); answer.StatusCode != 201 {
						t.Fatal(body)
					}
					if m == "cold" {
						continue
					}
					if answer, body := p.ask(t, detectOn(m)); answer.StatusCode != 200 {
						t.Fatal(body)
					}
				}
				time.Sleep(time.Minute)
				began := time.Now()
				const blackout = 5 * time.Minute
				faulty.SetRules(fault)

				var all sync.WaitGroup
				scored := 0
				all.Go(func() { // what is loaded
					for i := 0; time.Since(began) < blackout; i++ {
						if answer, body := p.ask(t, detectOn(fmt.Sprint("m", i%models))); answer.StatusCode != 200 {
							t.Errorf("after %v: cached scoring is %d %s", time.Since(began), answer.StatusCode, body)
						}
						scored++
						time.Sleep(200 * time.Millisecond)
					}
				})
				refused, slowest := 0, time.Duration(0)
				var mu sync.Mutex
				ask := func(name string) (status int) {
					asked := time.Now()
					answer, body := p.ask(t, elsewhere[name])
					if answer.StatusCode < 500 {
						return answer.StatusCode
					}
					var problem web.Problem
					if err := json.Unmarshal([]byte(body), &problem); err != nil {
						t.Errorf("%s: %s", name, body)
					}
					if answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" || problem.Code != "unavailable" && problem.Code != "outcome_unknown" {
						t.Errorf("%s: %d %s, Retry-After %q", name, answer.StatusCode, body, answer.Header.Get("Retry-After"))
					}
					mu.Lock()
					defer mu.Unlock()
					refused++
					slowest = max(slowest, time.Since(asked))
					return answer.StatusCode
				}
				back := map[string]time.Duration{}
				for name := range elsewhere {
					all.Go(func() {
						for {
							status := ask(name)
							since := time.Since(began) - blackout
							if status < 500 && since < 0 {
								t.Errorf("%s: status %d while the store is away", name, status)
							}
							if status < 500 && since >= 0 {
								mu.Lock()
								back[name] = since
								mu.Unlock()
								return
							}
							if pause := time.Second; since < -pause {
								time.Sleep(pause)
							} else {
								time.Sleep(pause / 4)
							}
						}
					})
				}
				time.Sleep(blackout)
				returned := time.Now()
				faulty.SetRules()
				all.Wait()
				synctest.Wait()
				during, most := calls.between(began, returned)
				time.Sleep(10 * time.Second)
				after, mostAfter := calls.between(returned, returned.Add(10*time.Second))
				recovery := slices.Max(slices.Collect(maps.Values(back)))
				if limit := 5 * time.Second; recovery > limit {
					t.Errorf("back after %v: %v", recovery, back)
				}
				if refused < len(elsewhere)*10 || scored < 1000 {
					t.Errorf("only %d refused, %d scored", refused, scored)
				}
				if limit := 16 * time.Second; slowest > limit {
					t.Errorf("one waited %v for its 503", slowest)
				}
				if during > 5*60*3+500 {
					t.Errorf("%d calls of a store that is away", during)
				}
				// Two calls for each name in use, and those of the requests themselves.
				if most := 2*models + 20*len(elsewhere); mostAfter > most {
					t.Errorf("%d calls in one second after its return, want at most %d", mostAfter, most)
				}
				t.Logf("blackout 5 min, %s: blackout.cached_5xx 0 of %d; %d others 503, slowest after %v; blackout.recovery %v; calls while away %d (at most %d a second), in the 10 s after it %d (at most %d a second)",
					name, scored, refused, slowest, recovery, during, most, after, mostAfter)
			})
		})
	}
}

// TestNoStampede: 1,000 callers who kept asking for one cold detector while the store
// was away are one load when it is back.
func TestNoStampede(t *testing.T) {
	calls := &tally{at: map[time.Time]int{}}
	faulty := blobtest.NewFaulty(blob.NewMemory(), 1)
	var r *registry.Registry
	own := func(o *web.Options) {
		var err error
		if r, err = registry.Open(context.Background(), blob.Retry(blob.Observe(faulty, calls.call), nil), registry.Options{}); err != nil {
			t.Fatal(err)
		}
		o.Registry = r
	}
	bubble(t, own, func(t *testing.T, p *pipes, stop func(), ended <-chan error) {
		if answer, body := p.ask(t, request("POST", "/v1/tenants/acme/models/cold/train?n_estimators=3", "text/csv", "packet_count\n"+strings.Repeat("1\n2\n3\n", 20))); answer.StatusCode != 201 {
			t.Fatal(body)
		}
		time.Sleep(time.Minute)
		faulty.SetRules(blobtest.Rule{Fault: blobtest.Before})
		began := time.Now()
		var all sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		var latest time.Duration
		for i := range 1000 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 997 * time.Microsecond)
				for {
					answer, _ := p.ask(t, detectOn("cold"))
					mu.Lock()
					statuses[answer.StatusCode]++
					latest = max(latest, time.Since(began))
					mu.Unlock()
					if answer.StatusCode == http.StatusOK {
						return
					}
					wait, err := time.ParseDuration(answer.Header.Get("Retry-After") + "s")
					if err != nil {
						t.Errorf("status %d without Retry-After", answer.StatusCode)
						return
					}
					time.Sleep(wait)
				}
			})
		}
		time.Sleep(30 * time.Second)
		returned := time.Now()
		faulty.SetRules()
		all.Wait()
		n, most := calls.between(returned, returned.Add(10*time.Second))
		if n > 40 {
			t.Errorf("%d calls of the store for one detector", n)
		}
		if recovery := latest - 30*time.Second; recovery > 5*time.Second || statuses[200] != 1000 {
			t.Errorf("the last was served after %v; %v", recovery, statuses)
		}
		t.Logf("1,000 callers at its return: %d calls of the store, at most %d a second; all served within %v; before that %d × 503", n, most, latest-30*time.Second, statuses[503])
	})
}
