package web_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const iforest = "isolation_forest_anomaly_detector"

type secureEntry struct {
	ModelName  string  `json:"model_name"`
	TenantID   string  `json:"tenant_id"`
	Version    string  `json:"version"`
	CreatedAt  string  `json:"created_at"`
	ModelType  string  `json:"model_type"`
	FileSizeMB float64 `json:"file_size_mb"`
	FilePath   string  `json:"filepath"`
}

type secureDone struct {
	Status    string `json:"status"`
	Message   string `json:"message"`
	ModelPath string `json:"model_path"`
}

// What SecureNet's code does in a day: train, list, look, load, judge, delete.
func TestSecureNet(t *testing.T) {
	n := serve(t, nil)
	var done secureDone
	n.json("POST", "/models/train", toJSON(t, map[string]any{"network_data": events(200), "tenant_id": "tenant_123", "version": "20261124_083000"})).must(t, 200, &done)
	if done.Status != "success" || done.Message != "Model trained and saved successfully" || !strings.HasPrefix(done.ModelPath, "tenant_123/"+iforest+"/20261124_083000.") {
		t.Errorf("trained %+v", done)
	}
	n.json("POST", "/models/train", toJSON(t, map[string]any{"network_data": events(50), "tenant_id": "tenant_123"})).must(t, 200, nil)
	n.json("POST", "/models/train", toJSON(t, map[string]any{"network_data": events(50), "tenant_id": nil, "version": nil})).must(t, 200, nil)
	n.publish("notes", "?filename=notes.txt", "text")

	var all, some []secureEntry
	n.get("/models").must(t, 200, &all)
	var names []string
	var last time.Time
	for i, e := range all {
		names = append(names, e.TenantID+"/"+e.ModelName+":"+e.Version)
		created, err := time.Parse(time.RFC3339Nano, e.CreatedAt)
		if err != nil || i > 0 && created.After(last) {
			t.Errorf("entry %d was created at %s, the one before at %s: %v", i, created, last, err)
		}
		last = created
	}
	want := []string{"acme/notes:1", "default/" + iforest + ":1", "tenant_123/" + iforest + ":2", "tenant_123/" + iforest + ":20261124_083000"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	n.get("/models?tenant_id=tenant_123").must(t, 200, &some)
	if len(some) != 2 || some[0].ModelType != "Pipeline" || some[0].FilePath == "" {
		t.Errorf("models of a tenant: %+v", some)
	}
	n.get("/models?tenant_id=nobody").must(t, 200, &some)
	if len(some) != 0 {
		t.Errorf("models of no tenant: %+v", some)
	}

	info := map[string]any{}
	n.get("/models/"+iforest+"/info?tenant_id=tenant_123&version=20261124_083000").must(t, 200, &info)
	about := info["user_metadata"].(map[string]any)
	if info["model_module"] != "sklearn.pipeline" || len(info["file_hash"].(string)) != 64 || info["file_size_bytes"].(float64) < 1000 || info["filepath"] != done.ModelPath ||
		about["training_samples"] != 200.0 || about["feature_count"] != 3.0 || len(about["training_data_hash"].(string)) != 32 || about["hyperparameters"].(map[string]any)["n_estimators"] != 100.0 {
		t.Errorf("info is %v", info)
	}
	n.get("/models/"+iforest+"/info?tenant_id=tenant_123&version=2").must(t, 200, nil)

	n.do("POST", "/models/"+iforest+"/load?tenant_id=tenant_123&version=20261124_083000", nil).must(t, 200, &done)
	n.json("POST", "/models/"+iforest+"/load", `{"tenant_id":"tenant_123"}`).must(t, 200, &done)
	if done.Message != "Model loaded successfully" {
		t.Errorf("loaded %+v", done)
	}

	var found struct {
		ModelName string `json:"model_name"`
		TenantID  string `json:"tenant_id"`
		Version   string `json:"version"`
		Results   []result
	}
	ask := toJSON(t, map[string]any{"network_data": events(200)[198:], "tenant_id": "tenant_123", "version": "20261124_083000"})
	n.json("POST", "/models/"+iforest+"/detect", ask).must(t, 200, &found)
	if found.TenantID != "tenant_123" || found.Version != "20261124_083000" || len(found.Results) != 2 || !found.Results[1].Anomaly || found.Results[1].Score >= found.Results[0].Score {
		t.Errorf("judged %+v", found)
	}
	var original, sent any
	if err := json.Unmarshal(found.Results[1].Original, &original); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(toJSON(t, events(200)[199])), &sent); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, original); diff != "" {
		t.Errorf("original_data (-sent +got):\n%s", diff)
	}
	var same struct{ Results []result }
	n.json("POST", "/models/"+iforest+"/detect?tenant_id=tenant_123&version=20261124_083000", toJSON(t, events(200)[198:])).must(t, 200, &same)
	if diff := cmp.Diff(found.Results, same.Results, cmpopts.IgnoreFields(result{}, "Original")); diff != "" {
		t.Errorf("tenant in the query (-body +query):\n%s", diff)
	}

	// Bare, it deletes the latest version, then the one before, and never the model.
	for range 2 {
		n.do("DELETE", "/models/"+iforest+"?tenant_id=tenant_123", nil).must(t, 200, &done)
		if done.Message != "Model deleted successfully" {
			t.Errorf("deleted %+v", done)
		}
	}
	n.do("DELETE", "/models/"+iforest+"?tenant_id=tenant_123", nil).must(t, 404, nil)
	n.get("/v1/tenants/tenant_123/models/"+iforest).must(t, 200, nil)
	n.get("/v1/tenants/default/models/"+iforest+"/versions/1").must(t, 200, nil)
}

// Errors have FastAPI's shape: one field, detail.
func TestSecureNetErrors(t *testing.T) {
	n := serve(t, nil)
	n.json("POST", "/models/train", toJSON(t, map[string]any{"network_data": events(50), "version": "v1"})).must(t, 200, nil)
	n.json("PUT", "/v1/tenants/default/models/"+iforest+"/aliases/champion", `{"version":1}`).must(t, 200, nil)
	for _, row := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/models/none/info", "", 404, "default/none"},
		{"GET", "/models/" + iforest + "/info?version=v9", "", 404, "v9"},
		{"GET", "/models/" + iforest + "/info?tenant_id=A", "", 400, "is no tenant"},
		{"GET", "/models/" + iforest + "/info?versoin=v1", "", 400, "unknown parameter"},
		{"GET", "/models?version=v1", "", 400, "unknown parameter"},
		{"POST", "/models/train", `{"network_data":[{"packet_count":1}],"version":"v1"}`, 409, "v1"},
		{"POST", "/models/train", `{"network_data":[{"packet_count":1}],"version":"17"}`, 400, "is no label"},
		{"POST", "/models/train", `{"network_data":[]}`, 400, "at least one"},
		{"POST", "/models/train", `{"network_data":[{"packet_count":1}],"tenant":"x"}`, 400, "unknown field"},
		{"POST", "/models/none/load", "", 404, "default/none"},
		{"POST", "/models/" + iforest + "/load", `{"version":7}`, 400, "number"},
		{"POST", "/models/" + iforest + "/detect", `{"network_data":[],"tenant_id":"../x"}`, 400, "is no tenant"},
		{"POST", "/models/" + iforest + "/detect", `{"events":[]}`, 400, "network_data"},
		{"DELETE", "/models/" + iforest, "", 409, "champion"},
		{"DELETE", "/models/none", "", 404, "default/none"},
	} {
		var body fastAPIError
		r := n.json(row.method, row.path, row.body)
		r.must(t, row.status, &body)
		if len(body) != 1 || !strings.Contains(body["detail"], row.says) {
			t.Errorf("%s %s: %s, want …%s…", row.method, row.path, r.body, row.says)
		}
	}
	answer := n.get("/models", "Authorization", "")
	if answer.StatusCode != 401 || !strings.HasPrefix(string(answer.body), `{"detail":"`) {
		t.Errorf("without a token: %d %s", answer.StatusCode, answer.body)
	}
}

// fastAPIError is an error as FastAPI words it.
type fastAPIError map[string]string
