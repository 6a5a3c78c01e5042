package client_test

import (
	"testing"

	"modelbucket/registry"
	"modelbucket/web/client"
)

func TestKeysOverTheClient(t *testing.T) {
	both(t, func(t *testing.T, c *client.Client) {
		made := map[registry.KeyID]bool{}
		for range 5 {
			key, token, err := c.CreateKey(t.Context(), registry.NewKey{Tenant: "acme", Role: registry.Writer, Note: "n"})
			if err != nil {
				t.Fatal(err)
			}
			if parsed, ok := registry.ParseToken(token.Reveal()); !ok || parsed.ID != key.ID || key.Role != registry.Writer || *key.Tenant != "acme" {
				t.Fatalf("%+v", key)
			}
			made[key.ID] = true
		}
		operator, _, err := c.CreateKey(t.Context(), registry.NewKey{Role: registry.Operator})
		if err != nil || operator.Tenant != nil {
			t.Fatalf("%+v, %v", operator, err)
		}
		for key, err := range c.Keys(t.Context(), "acme", client.List{PageSize: 2}) {
			if err != nil || !made[key.ID] {
				t.Fatalf("%+v, %v", key, err)
			}
			delete(made, key.ID)
			if revoked, err := c.RevokeKey(t.Context(), "acme", key.ID); err != nil || revoked.State != registry.KeyRevoked {
				t.Errorf("%+v, %v", revoked, err)
			}
		}
		if len(made) > 0 {
			t.Errorf("not listed: %v", made)
		}
		if _, err := c.RevokeKey(t.Context(), "acme", operator.ID); code(t, err) != "key_not_found" {
			t.Errorf("acme revokes an operator: %v", err)
		}
		if _, err := c.RevokeKey(t.Context(), "", operator.ID); err != nil {
			t.Error(err)
		}
		description := "d"
		if _, err := c.UpdateTenant(t.Context(), "acme", registry.Change{Description: &description}); err != nil {
			t.Fatal(err)
		}
		if info, err := c.DeleteTenant(t.Context(), "acme"); err != nil || info.Description != "d" {
			t.Errorf("%+v, %v", info, err)
		}
		if _, err := c.DeleteTenant(t.Context(), "acme"); code(t, err) != "tenant_not_found" {
			t.Errorf("deleted twice: %v", err)
		}
	})
}
