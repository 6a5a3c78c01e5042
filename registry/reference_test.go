package registry_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modelbucket/blob"
	"modelbucket/registry"
)

// reference is what a registry of one model should say, kept in plain variables.
type reference struct {
	versions []refVersion // by number − 1
	aliases  map[registry.Alias]registry.Number
	keys     map[string]registry.Number
	exists   bool // its _model.json is there and not deleted
}

func (m *reference) add(v refVersion) {
	m.versions = append(m.versions, v)
	m.exists = m.exists || len(m.versions) == 1
}

type refVersion struct {
	label   registry.Label
	deleted bool
}

func (m *reference) latest() registry.Number {
	for i := len(m.versions) - 1; i >= 0; i-- {
		if !m.versions[i].deleted {
			return registry.Number(i + 1)
		}
	}
	return 0
}

func (m *reference) labelled(l registry.Label) registry.Number {
	for i, v := range m.versions {
		if v.label == l {
			return registry.Number(i + 1)
		}
	}
	return 0
}

func (m *reference) named(n registry.Number) bool {
	return slices.Contains(slices.Collect(maps.Values(m.aliases)), n)
}

// Random histories of one model on two nodes, each answer held against the reference.
func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bucket := blob.NewMemory()
		nodes := make([]*registry.Registry, 2)
		for i := range nodes {
			var err error
			if nodes[i], err = registry.Open(t.Context(), bucket, registry.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		m := &reference{aliases: map[registry.Alias]registry.Number{}, keys: map[string]registry.Number{}}
		node := func() *registry.Registry { return nodes[rapid.IntRange(0, 1).Draw(t, "node")] }
		number := func() registry.Number {
			return registry.Number(rapid.IntRange(1, len(m.versions)+1).Draw(t, "number"))
		}
		alias := func() registry.Alias {
			return registry.Alias(rapid.SampledFrom([]string{"champion", "challenger"}).Draw(t, "alias"))
		}
		byNumber := func(n registry.Number) registry.Ref {
			return registry.Ref{Tenant: acme, Model: fraud, Selector: registry.Selector{Number: n}}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				p := registry.Publication{Tenant: acme, Model: fraud}
				if rapid.Bool().Draw(t, "labelled") {
					p.Label = label(rapid.IntRange(1, 5).Draw(t, "label"))
				}
				v, err := publish(t.Context(), node(), p, "x")
				if p.Label != "" && m.labelled(p.Label) != 0 {
					expect(t, err, registry.ErrLabelTaken)
					return
				}
				expect(t, err, nil)
				m.add(refVersion{label: p.Label})
				if int(v.Version) != len(m.versions) {
					t.Fatalf("got number %d, want %d", v.Version, len(m.versions))
				}
			},
			"publish with key": func(t *rapid.T) {
				key := fmt.Sprint(rapid.IntRange(1, 5).Draw(t, "key"))
				v, err := publish(t.Context(), node(), registry.Publication{Tenant: acme, Model: fraud, Key: key}, "content "+key)
				n, repeated := m.keys[key]
				switch {
				case repeated && m.versions[n-1].deleted:
					expect(t, err, registry.ErrVersionDeleted)
					return
				case !repeated:
					n = registry.Number(len(m.versions) + 1)
					m.add(refVersion{})
					m.keys[key] = n
				}
				expect(t, err, nil)
				if v.Version != n {
					t.Fatalf("key %s: got number %d, want %d", key, v.Version, n)
				}
			},
			"delete": func(t *rapid.T) {
				n := number()
				_, err := node().DeleteVersion(t.Context(), byNumber(n), registry.Deletion{})
				switch {
				case int(n) > len(m.versions) && m.latest() == 0 && !m.exists:
					expect(t, err, registry.ErrModelNotFound)
				case int(n) > len(m.versions):
					expect(t, err, registry.ErrVersionNotFound)
				case m.versions[n-1].deleted:
					expect(t, err, registry.ErrVersionDeleted)
				case m.named(n):
					expect(t, err, registry.ErrAliasInUse)
				default:
					expect(t, err, nil)
					m.versions[n-1].deleted = true
				}
			},
			"delete model": func(t *rapid.T) {
				_, err := node().DeleteModel(t.Context(), acme, fraud, registry.Deletion{})
				switch {
				case !m.exists && m.latest() == 0:
					expect(t, err, registry.ErrModelNotFound)
				case len(m.aliases) > 0:
					expect(t, err, registry.ErrAliasInUse)
				default:
					expect(t, err, nil)
					m.exists = false
					for i := range m.versions {
						m.versions[i].deleted = true
					}
				}
			},
			"set alias": func(t *rapid.T) {
				a, n := alias(), number()
				_, err := node().SetAlias(t.Context(), acme, fraud, a, registry.AliasChange{To: n})
				switch {
				case int(n) > len(m.versions) && m.latest() == 0 && !m.exists:
					expect(t, err, registry.ErrModelNotFound)
				case int(n) > len(m.versions):
					expect(t, err, registry.ErrVersionNotFound)
				case m.versions[n-1].deleted:
					expect(t, err, registry.ErrVersionDeleted)
				default:
					expect(t, err, nil)
					m.aliases[a] = n
				}
			},
			"remove alias": func(t *rapid.T) {
				a := alias()
				_, err := node().DeleteAlias(t.Context(), acme, fraud, a, registry.AliasChange{})
				switch _, set := m.aliases[a]; {
				case set:
					expect(t, err, nil)
					delete(m.aliases, a)
				case len(m.versions) == 0:
					expect(t, err, registry.ErrModelNotFound)
				default:
					expect(t, err, registry.ErrAliasNotFound)
				}
			},
			"": func(t *rapid.T) { compare(t, nodes[len(m.versions)%2], m) },
		})
		for _, r := range nodes {
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if report, err := nodes[0].Check(t.Context(), registry.CheckOptions{}); err != nil || !report.OK {
			t.Fatalf("check: %+v, %v", report, err)
		}
	})
}

func expect(t *rapid.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// compare reads everything that can be read.
func compare(t *rapid.T, r *registry.Registry, m *reference) {
	model := registry.Ref{Tenant: acme, Model: fraud}
	v, err := r.Resolve(t.Context(), model)
	switch n := m.latest(); {
	case n != 0:
		expect(t, err, nil)
		if v.Version != n {
			t.Fatalf("latest: got %d, want %d", v.Version, n)
		}
	case !m.exists:
		expect(t, err, registry.ErrModelNotFound)
	default:
		expect(t, err, registry.ErrVersionNotFound)
	}
	for i, want := range m.versions {
		if want.label == "" {
			continue
		}
		ref := model
		ref.Selector.Label = want.label
		v, err := r.Resolve(t.Context(), ref)
		if want.deleted {
			expect(t, err, registry.ErrVersionDeleted)
		} else if expect(t, err, nil); int(v.Version) != i+1 {
			t.Fatalf("%s: got %d, want %d", want.label, v.Version, i+1)
		}
	}
	var listed []registry.Number
	for q := (registry.VersionQuery{Limit: 2}); m.exists || m.latest() != 0; {
		page, err := r.Versions(t.Context(), acme, fraud, q)
		expect(t, err, nil)
		for _, v := range page.Versions {
			listed = append(listed, v.Version)
		}
		if q.Before = page.Next; page.Next == 0 {
			break
		}
	}
	var want []registry.Number
	for i := len(m.versions); i > 0; i-- {
		if !m.versions[i-1].deleted {
			want = append(want, registry.Number(i))
		}
	}
	if !slices.Equal(listed, want) {
		t.Fatalf("list: got %v, want %v", listed, want)
	}
	if m.exists || m.latest() != 0 {
		info, err := r.Model(t.Context(), acme, fraud)
		expect(t, err, nil)
		if !maps.Equal(info.Aliases, m.aliases) {
			t.Fatalf("aliases: got %v, want %v", info.Aliases, m.aliases)
		}
	}
}
