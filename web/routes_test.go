package web_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"modelbucket/web"
)

func TestRouteTable(t *testing.T) {
	blank := regexp.MustCompile(`\{[^}]*\}`)
	seen := map[string]bool{}
	for _, route := range web.Routes() {
		if route.Permission == "" {
			t.Errorf("%s %s has no permission", route.Method, route.Pattern)
		}
		key := route.Method + " " + blank.ReplaceAllString(route.Pattern, "{}")
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		if route.Permission != web.Public && !route.Any && !strings.Contains(route.Pattern, "{tenant}") {
			t.Errorf("%s %s belongs to no tenant, and does not say so", route.Method, route.Pattern)
		}
		reads := strings.HasSuffix(string(route.Permission), ".read") || slices.Contains([]web.Permission{web.Public, web.TenantList, web.MetricsRead}, route.Permission)
		if route.Permission == web.KeyAdmin || route.Permission == web.KeyOperator {
			continue // who makes keys sees them
		}
		if route.Method != "POST" && reads != (route.Method == "GET") {
			t.Errorf("%s %s has the permission %s", route.Method, route.Pattern, route.Permission)
		}
	}
}

// contract is the document, with its references followed.
type contract struct {
	t    *testing.T
	root map[string]any
}

func readContract(t *testing.T) *contract {
	t.Helper()
	c := &contract{t: t}
	if err := yaml.Unmarshal(web.OpenAPI(), &c.root); err != nil {
		t.Fatal(err)
	}
	return c
}

// follow returns what v is, or what it refers to.
func (c *contract) follow(v any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		c.t.Fatalf("no object: %v", v)
	}
	ref, ok := m["$ref"].(string)
	if !ok {
		return m
	}
	var at any = c.root
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		next, ok := at.(map[string]any)
		if !ok || next[name] == nil {
			c.t.Fatalf("%s refers to nothing", ref)
		}
		at = next[name]
	}
	return c.follow(at)
}

// The routes are those of the contract, both ways, and their parameters and security.
func TestContractHoldsTheRoutes(t *testing.T) {
	c := readContract(t)
	served := map[string]web.Route{}
	for _, route := range web.Routes() {
		served[route.Method+" "+strings.ReplaceAll(route.Pattern, "...", "")] = route
	}
	ids := map[string]bool{}
	promised := map[string]bool{}
	for path, item := range c.follow(c.root["paths"]) {
		shared, _ := c.follow(item)["parameters"].([]any)
		for method, operation := range c.follow(item) {
			if method == "parameters" {
				continue
			}
			key := strings.ToUpper(method) + " " + path
			promised[key] = true
			route, ok := served[key]
			if !ok {
				t.Errorf("the contract has %s, which is not served", key)
				continue
			}
			op := c.follow(operation)
			id, _ := op["operationId"].(string)
			if id == "" || ids[id] || op["summary"] == nil || op["tags"] == nil {
				t.Errorf("%s: operationId %q, summary %v, tags %v", key, id, op["summary"], op["tags"])
			}
			ids[id] = true
			if security, has := op["security"].([]any); (has && len(security) == 0) != (route.Permission == web.Public) {
				t.Errorf("%s: security is %v, the permission %s", key, op["security"], route.Permission)
			}
			own, _ := op["parameters"].([]any)
			c.checkParameters(key, route.Pattern, append(slices.Clone(shared), own...))
			responses := c.follow(op["responses"])
			for _, answer := range responses {
				if c.follow(answer)["description"] == nil {
					t.Errorf("%s: an answer without a description", key)
				}
			}
			_, fastAPI := c.follow(c.follow(responses["default"])["content"])["application/json"]
			if fastAPI != route.FastAPI {
				t.Errorf("%s: the shape of its errors differs", key)
			}
		}
	}
	for key := range served {
		if !promised[key] {
			t.Errorf("%s is served, and not in the contract", key)
		}
	}
}

func (c *contract) checkParameters(key, pattern string, list []any) {
	c.t.Helper()
	var inPath []string
	for _, p := range list {
		p := c.follow(p)
		c.follow(p["schema"])
		if p["in"] == "path" {
			inPath = append(inPath, p["name"].(string))
		}
	}
	var want []string
	for _, found := range regexp.MustCompile(`\{([a-z]+)(\.\.\.)?\}`).FindAllStringSubmatch(pattern, -1) {
		want = append(want, found[1])
	}
	slices.Sort(inPath)
	slices.Sort(want)
	if !slices.Equal(inPath, want) {
		c.t.Errorf("%s: parameters in the path are %v, want %v", key, inPath, want)
	}
}

// The query parameters of the contract are those that the routes know: each one alone
// is let pass, and any other is not.
func TestContractHoldsTheQueries(t *testing.T) {
	c := readContract(t)
	n := serve(t, nil)
	n.publish("fraud", "", "x")
	fill := strings.NewReplacer("{tenant}", "acme", "{model}", "fraud", "{ref}", "1", "{alias}", "champion", "{key}", "0123456789", "{name}", "model.joblib")
	tried := 0
	for path, item := range c.follow(c.root["paths"]) {
		shared, _ := c.follow(item)["parameters"].([]any)
		for method, operation := range c.follow(item) {
			if method == "parameters" || len(strings.Trim(path, "/")) == 0 || c.follow(operation)["security"] != nil {
				continue
			}
			own, _ := c.follow(operation)["parameters"].([]any)
			for _, p := range append(slices.Clone(shared), own...) {
				p := c.follow(p)
				if p["in"] != "query" {
					continue
				}
				tried++
				body := string(n.queryAnswer(method, fill.Replace(path), p["name"].(string)).body)
				if strings.Contains(body, "unknown parameter") {
					t.Errorf("%s %s does not know its parameter %s: %s", method, path, p["name"], body)
				}
			}
			if path == "/metrics" {
				continue
			}
			if answer := n.queryAnswer(method, fill.Replace(path), "surely_unknown"); !strings.Contains(string(answer.body), "unknown parameter") {
				t.Errorf("%s %s lets an unknown parameter pass: %d %s", method, path, answer.StatusCode, answer.body)
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d parameters tried", tried)
	}
}

// queryAnswer sends a request with one query parameter and whatever body gets it as far
// as its query.
func (n *node) queryAnswer(method, path, parameter string) reply {
	n.t.Helper()
	body, headers := "{}", []string{"Content-Type", "application/json"}
	if strings.HasSuffix(path, "/versions") {
		headers = []string{"Content-Type", "application/octet-stream"}
	}
	return n.do(strings.ToUpper(method), path+"?"+parameter+"=1", strings.NewReader(body), headers...)
}

// Every schema says what it requires of its own properties, and is used somewhere.
func TestContractIsWhole(t *testing.T) {
	c := readContract(t)
	text := string(web.OpenAPI())
	for section, entries := range c.follow(c.root["components"]) {
		for name := range c.follow(entries) {
			if section != "securitySchemes" && strings.Count(text, "#/components/"+section+"/"+name+`"`) == 0 {
				t.Errorf("%s %s is used nowhere", section, name)
			}
		}
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, ok := v["$ref"]; ok {
				c.follow(v)
				return
			}
			required, _ := v["required"].([]any)
			properties, _ := v["properties"].(map[string]any)
			for _, name := range required {
				if properties[name.(string)] == nil {
					t.Errorf("%s requires %s, which it does not have", at, name)
				}
			}
			for key, value := range v {
				walk(at+"/"+key, value)
			}
		case []any:
			for i, value := range v {
				walk(fmt.Sprintf("%s/%d", at, i), value)
			}
		}
	}
	walk("", c.root)
}

// Real answers have the fields of their schemas, and no others.
func TestAnswersKeepTheContract(t *testing.T) {
	c := readContract(t)
	n := trained(t)
	n.json("PUT", "/v1/tenants/acme", `{"description":"x"}`).must(t, 200, nil)
	n.json("PUT", fraud+"/aliases/champion", `{"version":1,"note":"again"}`).must(t, 200, nil)
	one := `[{"packet_count":12},{"packet_count":"x"}]`
	for _, row := range []struct {
		schema string
		answer reply
	}{
		{"Tenant", n.get("/v1/tenants/acme")},
		{"TenantPage", n.get("/v1/tenants?limit=1")},
		{"Model", n.get(fraud)},
		{"ModelPage", n.get("/v1/models?limit=1")},
		{"ModelPage", n.get("/v1/tenants/acme/models?include=latest")},
		{"Version", n.get(fraud + "/versions/1")},
		{"VersionPage", n.get(fraud + "/versions")},
		{"VerifyReport", n.do("POST", fraud+"/versions/1/verify", nil)},
		{"Alias", n.get(fraud + "/aliases/champion")},
		{"Detection", n.json("POST", fraud+"/detect?include=original_data", one)},
		{"Detection", n.json("POST", fraud+"/versions/1/detect?explain=1", one)},
		{"Ready", n.do("POST", fraud+"/versions/1/load", nil)},
		{"Memory", n.get("/v1/detectors")},
		{"SecureInfo", n.get("/models/fraud/info?tenant_id=acme")},
		{"SecureDetection", n.json("POST", "/models/fraud/detect?tenant_id=acme", one)},
		{"SecureDone", n.do("POST", "/models/fraud/load?tenant_id=acme", nil)},
		{"Problem", n.get("/v1/tenants/nobody")},
		{"Problem", n.get("/nothing")},
	} {
		var v any
		row.answer.must(t, row.answer.StatusCode, &v)
		if row.schema != "Problem" && row.answer.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d: %s", row.schema, row.answer.StatusCode, row.answer.body)
			continue
		}
		c.conforms(row.schema, c.follow(c.follow(c.root["components"])["schemas"])[row.schema], v)
	}
}

// conforms holds a value against as much of JSON Schema as the contract uses.
func (c *contract) conforms(at string, schema, v any) {
	c.t.Helper()
	s := c.follow(schema)
	if alternatives, ok := s["oneOf"].([]any); ok {
		for _, a := range alternatives {
			if kind, _ := c.follow(a)["type"].(string); kindOf(v) == kind {
				c.conforms(at, a, v)
				return
			}
		}
		c.t.Errorf("%s: %v fits no alternative", at, v)
		return
	}
	if s["type"] != nil && !slices.Contains(listOf(s["type"]), any(kindOf(v))) && !(kindOf(v) == "integer" && slices.Contains(listOf(s["type"]), any("number"))) {
		c.t.Errorf("%s: %v is a %s, want %v", at, v, kindOf(v), s["type"])
		return
	}
	if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v.(string)) {
		c.t.Errorf("%s: %v does not match %s", at, v, pattern)
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		c.t.Errorf("%s: %v is none of %v", at, v, enum)
	}
	switch v := v.(type) {
	case map[string]any:
		properties, required, open := c.properties(s)
		for _, name := range required {
			if _, ok := v[name]; !ok {
				c.t.Errorf("%s lacks %s: %v", at, name, v)
			}
		}
		for name, value := range v {
			switch {
			case properties[name] != nil:
				c.conforms(at+"."+name, properties[name], value)
			case s["additionalProperties"] != nil:
				c.conforms(at+"."+name, s["additionalProperties"], value)
			case !open:
				c.t.Errorf("%s has %s, which the contract does not", at, name)
			}
		}
	case []any:
		for i, value := range v {
			c.conforms(fmt.Sprintf("%s[%d]", at, i), s["items"], value)
		}
	}
}

// properties are those of a schema and of all that it is made of. It is open where it
// names none: then any will do.
func (c *contract) properties(s map[string]any) (properties map[string]any, required []string, open bool) {
	properties = map[string]any{}
	for _, part := range append(listOf(s["allOf"]), s) {
		p := c.follow(part)
		own, _ := p["properties"].(map[string]any)
		maps.Copy(properties, own)
		for _, name := range listOf(p["required"]) {
			required = append(required, name.(string))
		}
	}
	return properties, required, len(properties) == 0
}

func listOf(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// The codes in the contract are those of the problems.
func TestContractHoldsTheCodes(t *testing.T) {
	c := readContract(t)
	schemas := c.follow(c.follow(c.root["components"])["schemas"])
	codes := c.follow(c.follow(c.follow(schemas["Problem"])["properties"])["code"])["enum"].([]any)
	for _, known := range web.Codes() {
		if !slices.Contains(codes, any(known)) {
			t.Errorf("the contract lacks the code %s", known)
		}
	}
	if len(codes) != len(web.Codes()) {
		t.Errorf("the contract has %d codes, there are %d", len(codes), len(web.Codes()))
	}
	var served map[string]any
	if err := json.Unmarshal([]byte(toJSON(t, c.root["info"])), &served); err != nil || served["title"] != "modelbucket" {
		t.Errorf("the contract's title is %v, %v", served["title"], err)
	}
}
