package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"modelbucket/registry"
	"modelbucket/web/client"
)

type keyCommand struct {
	Create keyCreateCommand `cmd:"" help:"Make a key, and print its token this once."`
	List   keyListCommand   `cmd:"" help:"List keys: whose, for what, since when, last used when."`
	Revoke keyRevokeCommand `cmd:"" help:"End a key, on all nodes within 30 seconds."`
}

type keyCreateCommand struct {
	Tenant     registry.Tenant `arg:"" optional:"" placeholder:"TENANT" help:"Tenant that the key is for."`
	AllTenants bool            `help:"The key is for all tenants, those to come too."`
	Role       registry.Role   `required:"" placeholder:"ROLE" help:"scorer, reader, writer, promoter or admin; or operator, for all tenants."`
	Expires    *expiry         `placeholder:"WHEN" help:"End of its time: 90d, 12h, or a date such as 2027-06-30. Default: never."`
	Note       string          `placeholder:"TEXT" help:"What it is for."`
}

// Run makes a key. On stdout there is the token, and nothing beside it that a script
// would have to cut off.
func (c keyCreateCommand) Run(ctx context.Context, p *program) error {
	switch {
	case c.Tenant == "" && !c.AllTenants:
		return usage("for example: modelbucket key create acme --role writer", "name the tenant that the key is for, or say --all-tenants")
	case c.Tenant != "" && c.AllTenants:
		return usage("leave one of them out", "the key cannot be for %s and for all tenants", c.Tenant)
	}
	api, err := p.connect(ctx, toSave)
	if err != nil {
		return err
	}
	p.ifInterrupted("a key may have been made, and its token is lost: modelbucket key list, then key revoke")
	key, token, err := api.CreateKey(ctx, registry.NewKey{Tenant: c.Tenant, Role: c.Role, Note: c.Note, ExpiresAt: c.Expires.at()})
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(struct {
			*registry.Key
			Token string `json:"token"`
		}{key, token.Reveal()})
	}
	if _, err := fmt.Fprintln(p.stdout, token.Reveal()); err != nil {
		return err
	}
	until := "until it is revoked"
	if key.ExpiresAt != nil {
		until = "until " + key.ExpiresAt.UTC().Format(time.RFC3339)
	}
	p.say("%s: %s, %s, %s; the token is shown this once, as only its SHA-256 is kept", keyName(key), key.Role, orElse(text(key.Tenant), "all tenants"), until)
	return nil
}

// keyName is what key revoke takes.
func keyName(k *registry.Key) string {
	if k.Tenant == nil {
		return string(k.ID)
	}
	return string(*k.Tenant) + "/" + string(k.ID)
}

type keyListCommand struct {
	Tenant registry.Tenant `arg:"" optional:"" placeholder:"TENANT" help:"Tenant whose keys are listed; without, the keys for all tenants."`
	Ended  bool            `help:"Show revoked and expired ones too."`
}

// Run lists keys, the newest first.
func (c keyListCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toRead)
	if err != nil {
		return err
	}
	var keys []*registry.Key
	for key, err := range api.Keys(ctx, c.Tenant, client.List{PageSize: 1000}) {
		if err != nil {
			return err
		}
		if c.Ended || key.State == registry.KeyActive {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b *registry.Key) int { return b.CreatedAt.Compare(a.CreatedAt) })
	t := table{header: []string{"KEY", "ROLE", "STATE", "CREATED", "BY", "EXPIRES", "LAST USED", "NOTE"}}
	for _, k := range keys {
		expires := dash
		if k.ExpiresAt != nil {
			expires = k.ExpiresAt.UTC().Format(time.RFC3339)
		}
		used := dash
		if k.LastUsedAt != nil {
			used = p.when(*k.LastUsedAt)
		}
		t.add(keyName(k), string(k.Role), k.State, p.when(k.CreatedAt), k.CreatedBy, expires, used, k.Note)
	}
	if keys == nil {
		keys = []*registry.Key{}
	}
	return p.result(keys, "keys", false, t, 0)
}

type keyRevokeCommand struct {
	Key keyArgument `arg:"" placeholder:"[TENANT/]KEY" help:"The key, as key list shows it. Without the tenant it needs an operator's rights."`
	Yes bool        `short:"y" help:"Do not ask."`
}

// Run ends a key.
func (c keyRevokeCommand) Run(ctx context.Context, p *program) error {
	api, err := p.connect(ctx, toChange)
	if err != nil {
		return err
	}
	if err := p.confirm(c.Yes, "revoke the key %s; it cannot be taken back", c.Key); err != nil {
		return err
	}
	p.ifInterrupted("repeat it: a key that was revoked stays so")
	key, err := api.RevokeKey(ctx, c.Key.tenant, c.Key.id)
	if err != nil {
		return err
	}
	if p.JSON {
		return p.printJSON(key)
	}
	_, err = fmt.Fprintf(p.stdout, "%s: revoked\n", keyName(key))
	return err
}

// keyArgument names a key, and the tenant that it is of.
type keyArgument struct {
	tenant registry.Tenant
	id     registry.KeyID
}

func (k keyArgument) String() string {
	if k.tenant == "" {
		return string(k.id)
	}
	return string(k.tenant) + "/" + string(k.id)
}

// UnmarshalText reads "acme/0h2k4m6p8r" or "0h2k4m6p8r".
func (k *keyArgument) UnmarshalText(b []byte) (err error) {
	id := string(b)
	if strings.HasPrefix(id, "mbk_") {
		return errors.New("this is a token: do not write it on a command line, where others can see it; the key's name is what key list shows")
	}
	if tenant, rest, ok := strings.Cut(id, "/"); ok {
		if k.tenant, err = registry.ParseTenant(tenant); err != nil {
			return err
		}
		id = rest
	}
	k.id, err = registry.ParseKeyID(id)
	return err
}

// expiry is a moment to come: so far from now, or a date.
type expiry time.Time

func (e *expiry) at() *time.Time { return (*time.Time)(e) }

func (e *expiry) UnmarshalText(b []byte) error {
	t, err := moment(string(b), 1)
	if err != nil {
		return errors.New("a time to come is a number of days or hours (90d, 12h), or a date (2027-06-30)")
	}
	*e = expiry(t)
	return nil
}

// moment reads a date, or so many days or hours from now: to come if sign is 1, ago if it
// is -1.
func moment(s string, sign time.Duration) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	in, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		in = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || in <= 0 {
		return time.Time{}, strconv.ErrSyntax
	}
	return time.Now().Add(sign * in).UTC().Truncate(time.Second), nil
}
