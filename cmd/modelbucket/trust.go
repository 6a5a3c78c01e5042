package main

import (
	"context"
	"errors"
	"os"

	"modelbucket/registry"
	"modelbucket/registry/signature"
	"modelbucket/web/client"
)

// trustFlags say whose signatures a tenant trusts. What is not said stays as it is.
type trustFlags struct {
	Signatures   registry.SignatureMode `placeholder:"POLICY" help:"What becomes of versions without a trusted signature: none, nothing; warn, they are served and logged; require, they are kept and not served."`
	SignatureKey []string               `placeholder:"FILE" help:"Public keys or root certificates (PEM) whose signatures count, in place of those that did; may be repeated."`
}

func (f trustFlags) given() bool { return f.Signatures != "" || len(f.SignatureKey) > 0 }

// setTrust changes whom a tenant trusts. Where that is all, the tenant's admin may do it.
func (f trustFlags) setTrust(ctx context.Context, p *program, t registry.Tenant, change registry.Change) error {
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	policy, revision, err := f.policy(ctx, api, t)
	if err != nil {
		return err
	}
	var info *registry.TenantInfo
	if change.Description == nil && change.Tags == nil && change.Limits == nil {
		info, err = api.SetSignatures(ctx, t, policy, &revision)
	} else {
		change.Signatures, change.IfRevision = &policy, &revision
		info, err = api.UpdateTenant(ctx, t, change)
	}
	if err != nil {
		return err
	}
	return p.showTenant(info)
}

// policy is what is to be, and the revision of what was there before.
func (f trustFlags) policy(ctx context.Context, api *client.Client, t registry.Tenant) (registry.SignaturePolicy, int64, error) {
	policy, revision := registry.SignaturePolicy{Policy: registry.SignaturesNone, Keys: []string{}}, int64(0)
	info, err := api.Tenant(ctx, t)
	if answered, ok := errors.AsType[*client.Error](err); err != nil && (!ok || answered.Code != "tenant_not_found") {
		return policy, 0, err
	}
	if err == nil {
		if revision = info.Revision; info.Signatures != nil {
			policy = *info.Signatures
		}
	}
	if f.Signatures != "" {
		policy.Policy = f.Signatures
	}
	if len(f.SignatureKey) > 0 {
		policy.Keys = nil
	}
	for _, file := range f.SignatureKey {
		if _, err := readTrust(file); err != nil {
			return policy, 0, err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return policy, 0, err
		}
		policy.Keys = append(policy.Keys, string(text))
	}
	return policy, revision, nil
}

// addTrust adds to a table what a tenant asks of signatures.
func addTrust(t *table, policy *registry.SignaturePolicy) {
	if policy == nil {
		return
	}
	t.add("signatures", string(policy.Policy))
	trust, err := signature.ParseTrust(policy.Keys)
	if err != nil {
		t.add("trusts", err.Error())
		return
	}
	for _, name := range trust.Names() {
		t.add("trusts", name)
	}
}
