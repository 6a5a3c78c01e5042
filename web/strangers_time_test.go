package web_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// TestStrangersInTime: a tenant that is there and one that is not refuse a stranger in the
// same time. Both are asked in turn, so that whatever else the machine does hits both; how
// far their medians lie apart is judged in the long form only.
func TestStrangersInTime(t *testing.T) {
	pairs := 1000
	if long() {
		pairs = 10_000
	}
	var known knowledge
	w := newWorld(t, nil, &known)
	defer w.close()
	took := map[string][]time.Duration{}
	for i := range pairs {
		authorization := fmt.Sprintf("Bearer {%d}", i%len(roles))
		rest := []string{"/models/vault/versions/1", "/models/vault/versions/1/files/model.joblib", "/models", "/models/vault/versions/golden", "", "/models/vault/aliases/crown", "/keys/" + known.key}[i%7]
		method := []string{"GET", "DELETE", "POST", "GET"}[i%4]
		answers := map[string]string{}
		for _, tenant := range [2][2]string{{"bolt", "none"}, {"none", "bolt"}}[i%2] {
			p := probe{method: method, target: "/v1/tenants/" + tenant + rest, host: "localhost", headers: [][2]string{{"Authorization", authorization}}}
			if i%5 == 0 {
				p.method, p.target = "GET", "/models/vault/info?tenant_id="+tenant
			}
			began := time.Now()
			status, header, body := w.ask(p)
			took[tenant] = append(took[tenant], time.Since(began))
			answers[tenant] = written(status, header, body)
			if status != 403 && status != 404 && status != 405 {
				t.Fatalf("%s: %d %s", p, status, body)
			}
		}
		if answers["bolt"] != answers["none"] {
			t.Fatalf("pair %d: one that is there answers %s\none that is not %s", i, answers["bolt"], answers["none"])
		}
	}
	median := func(tenant string) float64 {
		slices.Sort(took[tenant])
		return float64(took[tenant][pairs/2].Nanoseconds())
	}
	there, not := median("bolt"), median("none")
	apart := math.Abs(there-not) / not * 100
	t.Logf("strangers.pairs %d strangers.median_ns_there %.0f strangers.median_ns_not %.0f strangers.apart_percent %.1f", pairs, there, not, apart)
	if long() && apart > 5 {
		t.Errorf("the medians lie %.1f %% apart", apart)
	}
}
